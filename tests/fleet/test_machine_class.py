from fleet_configuration import changed, settings_of

from fleet.schema.machine_class import MachineClass
from fleet.settings import Settings


def test_a_gpu_is_terminated_when_its_host_is_serviced_without_being_told(settings: Settings):
    # A GPU cannot migrate, and the provider's own default is MIGRATE.
    assert settings.machine_classes["gpu"].on_host_maintenance == "terminate"


def test_a_spot_vm_is_terminated_when_its_host_is_serviced():
    spot = settings_of(changed({"machine_classes.cpu.provisioning": "spot"})).machine_classes["cpu"]
    assert spot.on_host_maintenance == "terminate"


def test_a_plain_vm_migrates_unless_told_otherwise(settings: Settings):
    told = settings_of(changed({"machine_classes.cpu.maintenance": "terminate"})).machine_classes["cpu"]
    assert settings.machine_classes["cpu"].on_host_maintenance == "migrate"
    assert told.on_host_maintenance == "terminate"


def test_what_is_left_out_is_safe():
    bare = MachineClass(machine_type="n1-standard-8", arch="x64", disk_gb=100, disk_type="pd-ssd")
    assert bare.secure_boot
    assert bare.provisioning == "standard"
    assert bare.shape == "even"
    assert bare.reservation == "any"
    assert bare.accelerator is None
