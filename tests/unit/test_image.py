import struct
import zlib

import cv2
import numpy as np
import pytest

from edgepose.errors import InputError
from edgepose.image import read_image, write_image


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0)


def encoded(suffix, image):
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".PNG"])
def test_lossless_formats_come_back_as_they_were(tmp_path, photo, suffix):
    path = tmp_path / f"photo{suffix}"
    write_image(path, photo)
    np.testing.assert_array_equal(read_image(path), photo)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_come_back_alike(tmp_path, photo, suffix):
    path = tmp_path / f"photo{suffix}"
    write_image(path, photo)
    assert np.abs(read_image(path).astype(int) - photo).mean() < 4


def test_colours_are_rgb(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(encoded(".png", np.full((4, 4, 3), (0, 0, 255), np.uint8)))  # OpenCV encodes BGR
    np.testing.assert_array_equal(read_image(path), np.full((4, 4, 3), (255, 0, 0)))


def test_grey_alpha_and_16_bit_become_8_bit_rgb(tmp_path, photo):
    path = tmp_path / "photo.png"
    grey = photo[..., 0].copy()
    path.write_bytes(encoded(".png", grey))
    np.testing.assert_array_equal(read_image(path), np.repeat(grey[..., None], 3, axis=2))
    path.write_bytes(encoded(".png", np.dstack([photo[..., ::-1], np.full((60, 80), 128, np.uint8)])))
    np.testing.assert_array_equal(read_image(path), photo)
    path.write_bytes(encoded(".png", photo[..., ::-1].astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_image(path), photo)


def test_the_exif_orientation_is_applied(tmp_path, photo):
    plain = encoded(".jpg", photo)
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6: turn clockwise to see it upright
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    path = tmp_path / "phone.jpg"
    path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
    (tmp_path / "plain.jpg").write_bytes(plain)
    np.testing.assert_array_equal(read_image(path), np.rot90(read_image(tmp_path / "plain.jpg"), -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path, photo, suffix, part):
    content = encoded(suffix, photo)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(InputError, match=r"can't read the image '.*cut"):
        read_image(path)


def test_a_truncated_jpeg_with_a_whole_thumbnail_is_refused(tmp_path, photo):
    plain, thumbnail = encoded(".jpg", photo), encoded(".jpg", photo[::4, ::4].copy())
    application = b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    path = tmp_path / "phone.jpg"
    path.write_bytes(plain[:2] + application + plain[2:] + b"maker's trailer")
    assert read_image(path).shape == photo.shape
    path.write_bytes((plain[:2] + application + plain[2:])[:-100])
    with pytest.raises(InputError, match="truncated$"):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "the file is empty"), (b"not an image", "truncated, damaged"), (bytes(999), "truncated, damaged")]
)
def test_what_is_not_an_image_is_refused(tmp_path, content, message):
    path = tmp_path / "file.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"missing\.jpg': No such file"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="directory"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 300_000, 300_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    with pytest.raises(InputError, match=r"bomb\.png"):
        read_image(path)


@pytest.mark.parametrize("name", ["pose.xyz", "pose", "pose.jpg.txt"])
def test_unknown_suffixes_are_refused(tmp_path, photo, name):
    with pytest.raises(InputError, match=r"allowed: \.jpg"):
        write_image(tmp_path / name, photo)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_rgb_is_not_written(tmp_path):
    with pytest.raises(InputError, match="expected uint8"):
        write_image(tmp_path / "pose.png", np.zeros((4, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_written_leaves_nothing(tmp_path, photo):
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(InputError, match=r"can't write the image .*taken\.png"):
        write_image(tmp_path / "taken.png", photo)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't write the image"):
        write_image(tmp_path / "file" / "pose.png", photo)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.png"]


def test_writing_replaces_the_whole_file(tmp_path, photo):
    path = tmp_path / "pose.png"
    path.write_bytes(b"x" * 100_000)
    write_image(path, photo)
    np.testing.assert_array_equal(read_image(path), photo)
    assert [file.name for file in tmp_path.iterdir()] == ["pose.png"]
