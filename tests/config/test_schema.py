"""What the schema says of its settings."""

from gan_lab.config.changes import RUNTIME_SETTINGS


def test_only_settings_of_where_and_how_may_change_without_another_result():
    trainer = "device devices threads accelerate keep_checkpoints keep_every_steps progress_gif rank_timeout_seconds"
    expected = {"resume", "run_dir", "name", "data_dir", "tracker", *(f"trainer.{name}" for name in trainer.split())}
    assert expected == RUNTIME_SETTINGS
