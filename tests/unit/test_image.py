import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgepose.image
import edgepose.jpeg
from edgepose.errors import InputError
from edgepose.image import decode_image, read_image, write_image
from edgepose.jpeg import read_jpeg


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


JPEGS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    "full colour": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "progressive restarts": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 3],
}


def jpeg_of(image, kind):
    return cv2.imencode(".jpg", image, JPEGS[kind])[1].tobytes()


def with_exif(plain, orientation):
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]


@pytest.mark.parametrize("kind", JPEGS)
def test_what_lies_behind_a_jpeg_does_not_matter(photo, kind):
    plain = jpeg_of(photo, kind)
    expected = decode_image(plain, "plain.jpg")
    trailers = [b"\0\0\0", bytes(5000), b"ftypmp42 \xff\xda ...", plain, b"\xff\xd8\xff", b"\xff" * 100]
    trailers += [np.random.default_rng(seed).bytes(200_000) for seed in range(20)]
    for number, trailer in enumerate(trailers):
        np.testing.assert_array_equal(decode_image(plain + trailer, "motion.jpg"), expected, err_msg=f"trailer {number}")
    filled = plain.replace(b"\xff\xda", b"\xff\xff\xff\xda", 1)
    np.testing.assert_array_equal(decode_image(filled, "filled.jpg"), expected)


def test_data_is_searched_in_pieces(photo, monkeypatch):
    content = jpeg_of(photo, "restarts")
    expected = read_jpeg(content)
    for size in range(1, 40):
        monkeypatch.setattr(edgepose.jpeg, "_CHUNK_BYTES", size)
        assert read_jpeg(content) == expected


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_end_is_fine_if_its_data_is_whole(photo, kind):
    plain = jpeg_of(photo, kind)
    expected = decode_image(plain, "plain.jpg")
    for content in (plain[:-2], plain[:-1], plain[:-2] + bytes(3000), with_exif(plain, 6)[:-2]):
        found = decode_image(content, "open.jpg")
        np.testing.assert_array_equal(found, expected if found.shape == expected.shape else np.rot90(expected, -1))


@pytest.mark.parametrize("kind", JPEGS)
def test_a_cut_jpeg_is_refused_whatever_is_put_behind(photo, kind):
    plain = jpeg_of(photo, kind)
    data = plain.rindex(b"\xff\xda") + 20
    cuts = [*np.linspace(data, len(plain) - 40, 12).astype(int), len(plain) - 5, len(plain) - 4]
    for cut in map(int, cuts):
        for tail in (b"", bytes(4000)):
            with pytest.raises(InputError, match="truncated"):
                decode_image(plain[:cut] + tail, f"cut at {cut} of {len(plain)}")


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_cut_jpeg_that_was_given_an_end_is_refused(photo, orientation):
    for kind in ("baseline", "restarts"):
        plain = with_exif(jpeg_of(photo, kind), orientation)
        for part in (0.4, 0.6, 0.8):
            with pytest.raises(InputError, match="truncated"):
                decode_image(plain[: int(len(plain) * part)] + b"\xff\xd9", "mended.jpg")
    progressive = jpeg_of(photo, "progressive")
    with pytest.raises(InputError, match="truncated"):
        decode_image(progressive[: progressive.rindex(b"\xff\xda")] + b"\xff\xd9", "early scans.jpg")


def test_a_picture_that_ends_in_grey_is_whole():
    grey = np.full((64, 64, 3), 128, np.uint8)
    grey[:20, :20] = 30
    for kind in JPEGS:
        assert decode_image(jpeg_of(grey, kind), "grey.jpg").shape == (64, 64, 3)
    assert decode_image(cv2.imencode(".jpg", grey[..., 0])[1].tobytes(), "grey.jpg").shape == (64, 64, 3)


def test_a_jpeg_of_many_scans_is_refused(photo):
    progressive = jpeg_of(photo, "progressive")
    last = progressive.rindex(b"\xff\xda")
    with pytest.raises(InputError, match="more than 100 scans"):
        decode_image(progressive[:-2] + progressive[last:-2] * 120 + b"\xff\xd9", "scans.jpg")


def test_inks(photo):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(photo).convert("CMYK").save(file, "JPEG", quality=95)
    content = file.getvalue()
    assert np.abs(decode_image(content, "inks.jpg").astype(int) - photo).mean() < 4
    assert decode_image(content[:-2], "inks.jpg").shape == photo.shape
    with pytest.raises(InputError, match="truncated"):
        decode_image(content[: len(content) // 2] + b"\xff\xd9", "inks.jpg")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
def test_pictures_of_industrial_cameras_are_not_black(photo, suffix, bits):
    photo[0, 0] = 255  # the brightest pixel tells the bits
    deep = photo[..., ::-1].astype(np.uint16) << (bits - 8)
    np.testing.assert_array_equal(decode_image(encoded(suffix, deep), f"camera{suffix}"), photo)
    grey = decode_image(encoded(suffix if suffix != ".ppm" else ".pgm", deep[..., 0].copy()), "camera")
    np.testing.assert_array_equal(grey, np.repeat(photo[..., 2:], 3, axis=2))


def test_grey_with_alpha_of_16_bits():
    grey = np.arange(4096, dtype=">u2").reshape(64, 64)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + np.dstack([row, np.full_like(row, 7)]).astype(">u2").tobytes() for row in grey)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 16, 4, 0, 0, 0))
    found = decode_image(png + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""), "camera.png")
    np.testing.assert_array_equal(found, np.repeat((grey >> 4).astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize(("suffix", "most"), [(".tiff", 1), (".tiff", 255), (".tiff", 65535), (".pfm", 1)])
def test_floats(photo, suffix, most):
    values = (photo[..., ::-1] / np.float32(255) * most).astype(np.float32)
    values[0, 0] = most
    photo[0, 0] = 255
    np.testing.assert_array_equal(decode_image(encoded(suffix, values), "float"), photo)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "aren't finite"), (-0.5, "from -0.5 to 1"), (1e6, r"to 1e\+06; allowed: 0 to 1")])
def test_floats_that_are_no_picture(photo, value, message):
    values = np.ones((8, 8, 3), np.float32)
    values[3, 3] = value
    with pytest.raises(InputError, match=message):
        decode_image(encoded(".tiff", values), "float.tiff")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".ppm", ".pfm", ".hdr", ".jp2", ".ras", ".gif", ".avif"])
def test_the_size_is_known_before_the_picture_is_decoded(photo, suffix, monkeypatch):
    given = photo.astype(np.float32) / 255 if suffix in (".pfm", ".hdr") else photo
    try:
        content = encoded(suffix, given)
    except cv2.error:
        pytest.skip(f"this OpenCV doesn't write {suffix}")
    decode_image(content, "small", max_pixels=60 * 80)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match="has 80×60 pixels, 0.0048 million; allowed: 0.004799 million"):
        decode_image(content, "large", max_pixels=60 * 80 - 1)


def test_webp_and_tiff_in_their_other_forms(photo):
    for content in (
        cv2.imencode(".webp", photo, [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes(),
        cv2.imencode(".webp", photo, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes(),
        cv2.imencode(".webp", np.dstack([photo, photo[..., :1]]), [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes(),
        cv2.imencode(".tiff", photo, [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes(),
    ):
        with pytest.raises(InputError, match="has 80×60 pixels"):
            decode_image(content, "large", max_pixels=100)


FOREIGN = {
    "HEIC picture": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "AVIF picture": b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif",
    r"video \(MP4\)": b"\0\0\0\x18ftypisom\0\0\2\0isommp42",
    r"QuickTime video \(MOV\)": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    "Matroska or WebM video": b"\x1aE\xdf\xa3",
    "AVI video": b"RIFF\0\0\0\0AVI LIST",
    "MPEG transport stream": (b"\x47" + bytes(187)) * 4,
    "PDF document; export its pages": b"%PDF-1.7\n",
    "SVG drawing": b"<?xml version='1.0'?>\n<svg xmlns='x'/>",
    "web page": b"<!DOCTYPE html><html>",
    "GIF picture": b"GIF89a\x50\0\x50\0",
    "raw photo": b"II*\0\x10\0\0\0CR\2\0",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1",
    "PAM picture": b"P7\nWIDTH 1\n",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_picture_is_named_as_what_it_is(what):
    with pytest.raises(InputError, match=f"can't read the image 'file': it is an? {what}"):
        decode_image(FOREIGN[what] + bytes(200), "file")


def test_raw_photos_that_are_tiff_are_not_taken_for_their_thumbnails(photo):
    with pytest.raises(InputError, match="it is a raw photo; develop it"):
        decode_image(encoded(".tiff", photo), "IMG_0001.NEF")


def test_damaged_headers_raise_nothing_else(photo):
    generator = np.random.default_rng(0)
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".tiff", ".ppm", ".gif"):
        content = encoded(suffix, photo)
        for length in (2, 4, 9, 13, 19, 25, 31):
            with pytest.raises(InputError):
                decode_image(content[:length], "short")
        for _ in range(40):
            damaged = bytearray(content)
            for place in generator.integers(0, 64, 3):
                damaged[place % len(damaged)] = int(generator.integers(256))
            try:
                decode_image(bytes(damaged), "damaged", max_pixels=1_000_000)
            except InputError:
                continue


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_file_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(edgepose.image, "MIN_BYTES_ALLOWED", 5_000_000)
    with pytest.raises(InputError, match="can't read the image '/dev/zero': it has more than the 8000000 bytes that are allowed"):
        read_image("/dev/zero", max_pixels=1_000_000)
