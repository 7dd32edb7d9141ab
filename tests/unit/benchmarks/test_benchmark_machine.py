"""The machine, from a ``/proc`` and ``/sys`` made for the purpose."""

import time

import pytest

from edgepose_benchmarks import peak
from edgepose_benchmarks.energy import EnergyMeter
from edgepose_benchmarks.environment import Monitor, describe_machine, read_memory
from edgepose_converters.targets import get_target


def write(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


CPUINFO = "processor\t: 0\nmodel name\t: Example CPU 9000\nflags\t\t: fpu avx2 avx_vnni hypervisor\n"


def test_a_machine_is_described(tmp_path):
    write(
        tmp_path,
        **{
            "proc/cpuinfo": CPUINFO,
            "proc/meminfo": "MemTotal:       8000000 kB",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        },
    )
    machine = describe_machine("mine", tmp_path)
    assert (machine.name, machine.cpu, machine.memory_bytes) == ("mine", "Example CPU 9000", 8_192_000_000)
    assert machine.flags == ("avx2", "avx_vnni")
    assert (machine.governor, machine.virtual) == ("powersave", True)
    assert machine.packages["numpy"]
    assert machine.id == describe_machine("mine", tmp_path).id != describe_machine("yours", tmp_path).id


def test_a_board_is_described_by_its_device_tree(tmp_path):
    write(tmp_path, **{"proc/cpuinfo": "Features\t: fp asimd asimddp\n", "proc/device-tree/model": "Raspberry Pi 5 Model B\0"})
    machine = describe_machine("pi", tmp_path)
    assert machine.cpu == "Raspberry Pi 5 Model B"
    assert machine.flags == ("asimd", "asimddp")
    assert machine.governor is None


def test_a_machine_that_shows_nothing(tmp_path):
    machine = describe_machine("bare", tmp_path)
    assert machine.cpu
    conditions = Monitor(tmp_path).stop()
    assert conditions.frequency_hz is None
    assert conditions.temperature_c is None
    assert conditions.energy_j is None


def test_conditions_are_what_changed_meanwhile(tmp_path):
    def state(busy, kilohertz, millidegrees, throttled):
        write(
            tmp_path,
            **{
                "proc/stat": f"cpu  {busy} 0 0 1000 0 0 0 0 0 0\ncpu0 0 0 0 0",
                "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": kilohertz,
                "sys/class/thermal/thermal_zone0/temp": millidegrees,
                "sys/class/thermal/thermal_zone1/temp": 20_000,
                "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": throttled,
            },
        )

    state(100, 2_000_000, 40_000, 1)
    monitor = Monitor(tmp_path)
    time.sleep(0.05)
    state(100_000, 1_500_000, 80_000, 3)
    conditions = monitor.stop(memory_before=5)
    assert conditions.frequency_hz == (2e9, 1.5e9)
    assert conditions.temperature_c == (40.0, 80.0)
    assert conditions.throttled == 2
    assert conditions.other_cores > 100
    assert conditions.memory_before_bytes == 5


def test_memory_is_read_from_the_process_itself():
    now, peak = read_memory()
    assert 1e6 < now <= peak


def test_rapl_counts_every_package_and_starts_again_from_zero(tmp_path):
    zone = "sys/class/powercap/intel-rapl:{}"
    for number, microjoules in ((0, 9_000_000), (1, 0)):
        write(
            tmp_path,
            **{
                f"{zone.format(number)}/name": f"package-{number}",
                f"{zone.format(number)}/energy_uj": microjoules,
                f"{zone.format(number)}/max_energy_range_uj": 10_000_000,
            },
        )
    # A part of a package, whose energy is the package's already.
    write(tmp_path, **{"sys/class/powercap/intel-rapl:0:0/name": "core", "sys/class/powercap/intel-rapl:0:0/energy_uj": 0})
    meter = EnergyMeter.start(tmp_path)
    write(tmp_path, **{f"{zone.format(0)}/energy_uj": 1_000_000, f"{zone.format(1)}/energy_uj": 3_000_000})
    assert meter.source == "rapl"
    assert meter.stop() == pytest.approx(2 + 3)


def test_a_jetson_and_a_battery_are_integrated(tmp_path):
    jetson, laptop = tmp_path / "jetson", tmp_path / "laptop"
    write(
        jetson,
        **{
            "sys/class/hwmon/hwmon3/in1_label": "VDD_IN",
            "sys/class/hwmon/hwmon3/in1_input": 5000,
            "sys/class/hwmon/hwmon3/curr1_input": 2000,
            "sys/class/hwmon/hwmon3/in2_label": "VDD_CPU",
        },
    )
    write(laptop, **{"sys/class/power_supply/BAT0/status": "Discharging", "sys/class/power_supply/BAT0/power_now": 10_000_000})
    for root, source in ((jetson, "ina3221"), (laptop, "battery")):
        start = time.perf_counter()
        meter = EnergyMeter.start(root)
        time.sleep(0.05)
        joules, seconds = meter.stop(), time.perf_counter() - start
        assert meter.source == source
        assert 10 * 0.05 <= joules <= 10 * seconds


def test_a_charging_battery_says_nothing(tmp_path):
    write(tmp_path, **{"sys/class/power_supply/BAT0/status": "Charging", "sys/class/power_supply/BAT0/power_now": 10_000_000})
    assert EnergyMeter.start(tmp_path) is None


def test_every_precision_has_its_arithmetic():
    for name in ("openvino", "onnx", "litert"):
        assert {peak.find_arithmetic(name, precision.name) for precision in get_target(name).precisions} == {"f32", "int8"}
    # Weights alone in 8 bits are floats again when they are multiplied, except where activations become integers, too.
    assert peak.find_arithmetic("openvino", "int8-dynamic") == "f32"
    assert peak.find_arithmetic("litert", "int8-dynamic") == "int8"
    assert peak.find_arithmetic("coreml", "int8") is None
    assert peak.find_arithmetic("onnx", "fp8") is None


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_a_peak_is_measured(precision, monkeypatch):
    monkeypatch.setattr(peak, "SIDE", 128)
    monkeypatch.setattr(peak, "SECONDS", 0.01)
    found = peak.measure_peak(precision, device="cpu", threads=1)
    assert found.precision == precision
    assert 1e8 < found.macs_per_s < 1e13
    assert peak.measure_peak(precision, device="npu.7", threads=1) is None
