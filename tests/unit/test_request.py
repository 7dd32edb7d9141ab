import pytest

from edgepose.errors import DeviceError, InputError
from edgepose.runtime.request import MAX_THREADS, DeviceRequest

AVAILABLE = ("CPU", "GPU.0", "GPU.1", "NPU")
ALIASES = {"gpu": ("GPU.0",)}


def choose(text, available=AVAILABLE, aliases=ALIASES):
    return DeviceRequest.parse(text).choose(available, runtime="openvino", preferred="CPU", aliases=aliases)


@pytest.mark.parametrize(
    ("text", "runtime", "device"),
    [
        ("auto", None, "auto"),
        ("CPU", None, "cpu"),
        (" gpu ", None, "gpu"),
        ("openvino:gpu.1", "openvino", "gpu.1"),
        ("OpenVINO:AUTO", "openvino", "auto"),
        ("mil:auto", "mil", "auto"),
    ],
)
def test_parse(text, runtime, device):
    request = DeviceRequest.parse(text)
    assert (request.text, request.runtime, request.device) == (text, runtime, device)


@pytest.mark.parametrize("text", ["", " ", ":", ":cpu", "openvino:"])
def test_malformed_device_strings(text):
    with pytest.raises(InputError, match="expected"):
        DeviceRequest.parse(text)


@pytest.mark.parametrize("threads", [0, -1, MAX_THREADS + 1])
def test_threads_out_of_range(threads):
    with pytest.raises(InputError, match=f"threads is {threads}; allowed: 1 to {MAX_THREADS}"):
        DeviceRequest.parse("cpu", threads=threads)


@pytest.mark.parametrize("threads", [None, 1, MAX_THREADS])
def test_threads_in_range(threads):
    assert DeviceRequest.parse("cpu", threads=threads).threads == threads


def test_options_are_the_requests_own_copy():
    options = {"PERFORMANCE_HINT": "THROUGHPUT"}
    request = DeviceRequest.parse("cpu", options=options)
    options.clear()
    assert request.options == {"PERFORMANCE_HINT": "THROUGHPUT"}
    assert DeviceRequest.parse("cpu").options == {}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("auto", "CPU"), ("cpu", "CPU"), ("openvino:gpu.1", "GPU.1"), ("gpu", "GPU.0"), ("npu", "NPU")],
)
def test_choose_returns_the_runtimes_own_spelling(text, chosen):
    assert choose(text) == chosen


def test_a_device_of_that_name_comes_before_an_alias():
    assert choose("gpu", available=("CPU", "GPU.0", "GPU")) == "GPU"


def test_the_first_available_alias_is_taken():
    assert choose("gpu", available=("CPU", "dml", "cuda"), aliases={"gpu": ("cuda", "rocm", "dml")}) == "cuda"


@pytest.mark.parametrize("text", ["tpu", "gpu.2", "npu:gpu.9"])
def test_a_device_that_is_not_there_names_those_that_are(text):
    with pytest.raises(DeviceError, match=r"openvino has no device .* it has: CPU, GPU\.0, GPU\.1, NPU"):
        choose(text)


def test_an_alias_is_no_fallback():
    with pytest.raises(DeviceError, match=r"'gpu'.*it has: CPU$"):
        choose("gpu", available=("CPU",))


def test_a_runtime_without_devices():
    with pytest.raises(DeviceError, match="it has: none"):
        choose("gpu", available=())


def test_the_limits_and_defaults():
    assert MAX_THREADS == 1024
    assert DeviceRequest.parse("cpu").streams == DeviceRequest().streams == 1
    assert DeviceRequest.parse("cpu").threads is None


@pytest.mark.parametrize("streams", [0, -1, MAX_THREADS + 1])
def test_streams_out_of_range(streams):
    with pytest.raises(InputError, match=f"streams is {streams}; allowed: 1 to {MAX_THREADS}"):
        DeviceRequest.parse("cpu", streams=streams)


@pytest.mark.parametrize("streams", [None, 1, 2, MAX_THREADS])
def test_streams_in_range(streams):
    assert DeviceRequest.parse("cpu", streams=streams).streams == streams
