import dataclasses
import zipfile

import numpy as np
import pytest
from evaluation_results import conditions, work

from edgepose.errors import InputError, SpecError
from edgepose.evaluation.shards import Shard, ShardRecord, load_shard, merge_shards, pictures_of_shard, save_shard

PEOPLE, KEYPOINTS = 11, 3
TABLE = np.random.default_rng(0).normal(size=(PEOPLE, KEYPOINTS, 3))


def shard(number, of=3, **changes):
    record = ShardRecord(
        number=number,
        of=of,
        conditions=conditions(),
        work=work(),
        boxes=PEOPLE,
        pictures=2,
        digest=f"{2**255 + number:064x}",
        unusable={"7": "broken"} if number == 1 else {},
    )
    people = np.arange(number - 1, PEOPLE, of)
    return Shard(record=dataclasses.replace(record, **changes), people=people, keypoints=TABLE[people])


def write(folder, *shards):
    paths = []
    for each in shards:
        paths.append(folder / f"{len(paths)}.npz")
        save_shard(each, paths[-1])
    return paths


def test_shards_share_the_pictures():
    parts = [pictures_of_shard(10, number, 3) for number in (1, 2, 3)]
    np.testing.assert_array_equal(np.sum(parts, axis=0), 1)
    assert [part.sum() for part in parts] == [4, 3, 3]
    for number in (0, 4):
        with pytest.raises(InputError, match="doesn't exist"):
            pictures_of_shard(10, number, 3)


def test_together_they_are_the_whole(tmp_path):
    paths = write(tmp_path, shard(2), shard(3), shard(1))
    found, first = merge_shards(paths, boxes=PEOPLE, pictures=6, keypoints=KEYPOINTS, conditions=conditions())
    np.testing.assert_array_equal(found.keypoints, TABLE)
    assert found.unusable == {7: "broken"}
    assert found.pictures == 6
    assert found.digest == (3 * 2**255 + 6) % 2**256
    assert (found.seconds, found.device_seconds) == (6.0, 3.0)
    assert first.of == 3


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ((shard(1), shard(2)), "missing: 3/3"),
        ((shard(1), shard(2), shard(3), shard(3)), "there twice"),
        ((shard(1), shard(2), shard(3, conditions=conditions(flip_test=True))), "its flip_test is True, not False"),
        ((shard(1), shard(2), shard(3, conditions=conditions(artifact_sha256="c" * 64))), "artifact_sha256"),
        ((shard(1), shard(2), shard(3, of=4)), "one of 4 shards, not of 3"),
        ((shard(1), shard(2), shard(3, boxes=12)), "a data set with 12 boxes, not 11"),
    ],
)
def test_what_does_not_make_the_whole_is_refused(tmp_path, shards, message):
    with pytest.raises(InputError, match=message):
        merge_shards(write(tmp_path, *shards), boxes=PEOPLE, pictures=6, keypoints=KEYPOINTS, conditions=conditions())


def test_damaged_and_foreign_files_are_refused(tmp_path):
    (path,) = write(tmp_path, shard(1))
    content = path.read_bytes()
    for number, wrong in enumerate([content[:-200], b"", b"no archive", content.replace(b"edgepose_shard", b"edgepose_other")]):
        other = tmp_path / f"wrong-{number}.npz"
        other.write_bytes(wrong)
        with pytest.raises(SpecError, match="evaluate the shard again"):
            load_shard(other, boxes=PEOPLE, keypoints=KEYPOINTS)
    with pytest.raises(InputError, match="can't read"):
        load_shard(tmp_path / "none.npz", boxes=PEOPLE, keypoints=KEYPOINTS)
    with pytest.raises(SpecError, match="don't fit"):
        load_shard(path, boxes=PEOPLE, keypoints=KEYPOINTS + 1)
    with pytest.raises(SpecError, match="don't fit"):
        save_shard(dataclasses.replace(shard(1), people=shard(1).people + PEOPLE), path)
        load_shard(path, boxes=PEOPLE, keypoints=KEYPOINTS)


def test_a_shard_that_would_fill_the_memory_is_refused(tmp_path):
    (path,) = write(tmp_path, shard(1))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["keypoints.npy"] += bytes(1_000_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(SpecError, match="more keypoints than its data set has people"):
        load_shard(path, boxes=PEOPLE, keypoints=KEYPOINTS)


def test_pickles_are_not_read(tmp_path):
    path = tmp_path / "pickle.npz"
    np.savez(path, record=np.array([{}], dtype=object), people=np.arange(2), keypoints=np.zeros((2, 3, 3)), allow_pickle=True)
    with pytest.raises(SpecError, match="isn't a shard, or is damaged"):
        load_shard(path, boxes=PEOPLE, keypoints=KEYPOINTS)


def test_a_shard_that_can_not_be_written_leaves_nothing(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="can't write the shard"):
        save_shard(shard(1), file / "shard.npz")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
