"""Objects from config nodes."""

from gan_lab.config.instantiate import Maker

LINEAR = {"_target_": "gan_lab.schedules.Linear", "start": 1.0, "end": 0.0}


def test_inner_nodes_are_given_the_common_properties_they_ask_for_and_do_not_state():
    make = Maker((), over_images=10.0, resolution=32)
    node = {"_target_": "torch.nn.ParameterList", "values": [LINEAR, {"deep": LINEAR}, {**LINEAR, "over_images": 5.0}]}
    first, second, third = make("x", node)
    assert (first.over_images, second["deep"].over_images, third.over_images) == (10.0, 10.0, 5.0)
