"""Lists of events that stay short, as every checkpoint holds them."""

from typing import Any

from gan_lab.diagnostics.collapse import Event

MOST_OF_A_KIND = 100  # some kinds can come every second row


def add_event(events: list[dict[str, Any]], event: Event) -> None:
    """Add an event to a list, or count it in the last of its kind there if there are MOST_OF_A_KIND of them."""
    alike = [e for e in events if (e["kind"], e["severity"]) == (event.kind, event.severity)]
    if len(alike) < MOST_OF_A_KIND:
        events.append(event.as_dict())
    else:
        alike[-1]["more"] = alike[-1].get("more", 0) + 1
