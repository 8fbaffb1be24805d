"""`python -m gan_lab VERB ...` is `gan-lab VERB ...`."""

import sys

from gan_lab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
