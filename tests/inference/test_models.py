"""Which models may be traced, where they are had from, and what is said where they are not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from backend.capture.options import CaptureOptions
from backend.errors import InputError
from backend.inference.memory import loaded_bytes
from backend.inference.models import Catalogue, Named, named_models
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.models.registry import open_model
from backend.store import Manifest, Store
from backend.store.pack import pack
from tests.models.fake_hub import COMMIT, NAME, fake_hub, use_cache
from tests.models.saved import save_tiny
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "seed-0")


@pytest.fixture(scope="module")
def digest(checkpoint: Path) -> str:
    return open_model(str(checkpoint)).digest


@pytest.fixture
def store(tmp_path: Path, store_factory, checkpoint: Path, digest: str) -> Store:
    """Runs of the checkpoint: ``kept`` holds it, ``sister`` and ``lost`` do not."""
    made = store_factory.make_store(
        tmp_path / "store", ("late",), (0, 1, 2), n=4, measures=False, checkpoint=False
    )
    for run_id, name in zip(made.run_ids(), ("kept", "lost", "sister"), strict=True):
        change(made, run_id, name, digest if name != "lost" else "0" * 16)
    shutil.copytree(checkpoint, made.paths.run("kept").dir / "checkpoint")
    return Store(made.path)


def change(store: Store, run_id: str, name: str, digest: str, **model: str) -> None:
    """Give a run another name and another model."""
    paths = store.paths.run(run_id)
    manifest = Manifest.read(paths.manifest)
    info = manifest.model.model_copy(update={"digest": digest, **model})
    changed = manifest.model_copy(update={"run_id": name, "model": info})
    paths.manifest.write_text(changed.to_json())
    paths.dir.rename(paths.dir.with_name(name))


def offered(catalogue: Catalogue) -> dict[str, str]:
    return {offer.label: offer.problem for offer in catalogue.offers()}


def test_a_runs_own_checkpoint_serves_runs_of_the_same_model(store: Store, digest: str) -> None:
    catalogue = Catalogue(store)
    problems = offered(catalogue)
    assert list(problems) == ["kept", "lost", "sister"]
    assert problems["kept"] == problems["sister"] == ""
    for run_id in ("kept", "sister"):
        key = catalogue.run(run_id).key
        assert catalogue.open(key).digest == catalogue.identity(key) == digest


def test_a_run_without_its_model_says_why_and_what_helps(store: Store) -> None:
    catalogue = Catalogue(store)
    offer = catalogue.run("lost")
    assert offer.problem == (
        "its checkpoint was not kept, and no directory that was named holds it (digest "
        "0000000000000000)"
    )
    assert f"fusionscope serve --store {store.path} --models DIR" in offer.hint
    for ask in (catalogue.identity, catalogue.weights_bytes, catalogue.open):
        with pytest.raises(InputError, match="run lost: its checkpoint was not kept"):
            ask(offer.key)


def test_a_lost_model_is_found_again_by_its_digest(
    store: Store, tmp_path: Path, checkpoint: Path
) -> None:
    other = tiny_checkpoint(tmp_path / "models" / "late" / "seed-1", text=(1,), vision=(1,))
    digest = open_model(str(other)).digest
    change(store, "lost", "refound", digest)
    catalogue = Catalogue(Store(store.path), Named((tmp_path / "models",)))
    assert offered(catalogue) == dict.fromkeys(
        ["kept", "refound", "sister", "models/late/seed-1"], ""
    )
    key = catalogue.run("refound").key
    assert catalogue.open(key).digest == catalogue.identity(key) == digest


def test_a_run_that_does_not_say_which_model_it_had(store: Store) -> None:
    change(store, "lost", "unsaid", "")
    offer = Catalogue(Store(store.path)).run("unsaid")
    assert offer.problem == "the store does not say which checkpoint it was made from"


def test_a_packed_store_keeps_no_checkpoints_but_finds_them(
    store: Store, tmp_path: Path, checkpoint: Path, digest: str
) -> None:
    pack([store], tmp_path / "packed.duckdb")
    packed = Store(tmp_path / "packed.duckdb")
    assert "was not kept" in offered(Catalogue(packed))["kept"]
    catalogue = Catalogue(packed, Named((checkpoint,)))
    assert catalogue.open(catalogue.run("kept").key).digest == digest


def test_another_checkpoint_in_a_run_is_refused(store: Store) -> None:
    folder = store.paths.run("kept").dir / "checkpoint"
    shutil.rmtree(folder)
    tiny_checkpoint(folder, text=(1,), vision=(1,))
    catalogue = Catalogue(store)
    with pytest.raises(InputError, match=r"run kept: the checkpoint is another \(digest"):
        catalogue.open(catalogue.run("kept").key)


def test_a_checkpoint_or_a_run_that_went_meanwhile_is_one_line(store: Store) -> None:
    catalogue = Catalogue(store)
    key = catalogue.run("kept").key
    shutil.rmtree(store.paths.run("kept").dir / "checkpoint")
    with pytest.raises(InputError, match=r"run kept: its checkpoint (is gone|was not kept)"):
        catalogue.open(key)
    store.delete("kept")
    with pytest.raises(InputError, match=r"no such model here\. It may have been deleted"):
        catalogue.open(key)


def test_a_link_out_of_the_store_is_not_followed(store: Store, checkpoint: Path) -> None:
    inside = store.paths.run("kept").dir / "checkpoint"
    shutil.rmtree(inside)
    inside.symlink_to(checkpoint)
    with pytest.raises(InputError):
        catalogue = Catalogue(Store(store.path))
        catalogue.open(catalogue.run("kept").key)


# Directories


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_directories_are_called_by_their_way_from_what_was_named(tmp_path: Path) -> None:
    for place in ("a/models/x", "b/models/x", "c"):
        save_tiny(tmp_path / place)
    named = Named((tmp_path / "a" / "models", tmp_path / "b" / "models", tmp_path / "c"))
    catalogue = Catalogue(None, named)
    offers = catalogue.offers()
    assert [offer.label.split(" ")[0] for offer in offers] == ["models/x", "models/x", "c"]
    assert len({offer.label for offer in offers}) == len({offer.key for offer in offers}) == 3
    assert {offer.family for offer in offers} == {"clip"}
    for offer in offers:
        assert str(tmp_path) not in repr(offer)


def test_a_directorys_identity_and_size_are_its_files(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "m")
    catalogue = Catalogue(None, Named((folder,)))
    (offer,) = catalogue.offers()
    adapter = catalogue.open(offer.key)
    assert catalogue.identity(offer.key) == adapter.digest
    assert catalogue.weights_bytes(offer.key) == pytest.approx(loaded_bytes(adapter), rel=0.1)
    save_tiny(folder, "siglip")
    assert catalogue.identity(offer.key) == catalogue.open(offer.key).digest != adapter.digest


def test_new_directories_are_seen_after_a_while_and_old_ones_go(tmp_path: Path) -> None:
    save_tiny(tmp_path / "a")
    clock = Clock()
    catalogue = Catalogue(None, Named((tmp_path,)), clock)
    (first,) = catalogue.offers()
    save_tiny(tmp_path / "b")
    assert len(catalogue.offers()) == 1
    clock.now = 31
    assert len(catalogue.offers()) == 2
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(InputError, match="its checkpoint is gone"):
        catalogue.open(first.key)
    clock.now = 62
    with pytest.raises(InputError, match="no such model here"):
        catalogue.open(first.key)


def test_a_broken_checkpoint_is_offered_with_the_reason(tmp_path: Path) -> None:
    weights = save_tiny(tmp_path / "m") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    catalogue = Catalogue(None, Named((tmp_path,)))
    (offer,) = catalogue.offers()
    assert "is cut short" in offer.problem
    with pytest.raises(InputError) as caught:
        catalogue.open(offer.key)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("key", ["", "../x", "/etc", "0" * 16])
def test_no_path_and_no_guess_is_a_key(store: Store, key: str) -> None:
    with pytest.raises(InputError, match="no such model here"):
        Catalogue(store).open(key)


def test_a_run_that_does_not_exist_names_near_ones(store: Store) -> None:
    with pytest.raises(InputError, match="kept"):
        Catalogue(store).run("kep")
    with pytest.raises(InputError, match="Give a store"):
        Catalogue().run("kept")


# The hub


def test_only_allowed_models_of_the_hub_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = save_tiny(tmp_path / "saved")
    with fake_hub(saved, tmp_path / "cache", monkeypatch) as asked:
        catalogue = Catalogue(None, Named((), (NAME,)))
        (offer,) = catalogue.offers()
        assert (offer.label, offer.kind) == (NAME, "hub") and not asked
        assert catalogue.weights_bytes(offer.key) == 0  # before it was downloaded
        identity = catalogue.identity(offer.key)
        assert catalogue.open(offer.key).revision == COMMIT
        assert catalogue.weights_bytes(offer.key) > 0
        assert catalogue.identity(offer.key) == identity


def test_a_runs_model_of_the_hub_is_opened_at_its_commit_if_it_is_allowed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = save_tiny(tmp_path / "saved")
    digest = open_model(str(saved)).digest
    change(store, "lost", "hub", digest, revision=COMMIT)
    path = store.paths.run("hub").manifest
    manifest = Manifest.read(path)
    origin = manifest.origin.model_copy(update={"model": NAME})
    path.write_text(manifest.model_copy(update={"origin": origin}).to_json())
    opened = Store(store.path)
    offer = Catalogue(opened).run("hub")
    assert "not among those that are allowed" in offer.problem and f"--hub {NAME}" in offer.hint
    with fake_hub(saved, tmp_path / "cache", monkeypatch):
        catalogue = Catalogue(opened, Named((), (NAME,)))
        key = catalogue.run("hub").key
        adapter = catalogue.open(key)
    assert (adapter.digest, adapter.revision) == (digest, COMMIT)
    assert catalogue.identity(key) == f"{NAME}@{COMMIT}"


def test_without_a_hub_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cache(tmp_path / "cache", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    catalogue = Catalogue(None, Named((), (NAME,)))
    with pytest.raises(InputError, match=f"model {NAME}: is not a local directory"):
        catalogue.open(catalogue.offers()[0].key)


def test_the_model_of_a_run_is_opened_at_the_steps_of_noise_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    model = save_tiny(tmp_path / "models" / "sd", "stable_diffusion")
    captured = {}
    for name, steps in (("chosen", (50, 300)), ("usual", ())):
        options = CaptureOptions(limit=2, device="cpu")
        request = CaptureRequest(
            *(str(model), "macros:n=1,dev=1,test=2", str(tmp_path / "store")),
            run_id=name,
            options=options,
            timesteps=steps,
        )
        run_capture(request, open_request(request))
        captured[name] = steps or (100, 500, 900)
    catalogue = Catalogue(Store(tmp_path / "store"), Named((model.parent,)))
    for name, steps in captured.items():
        assert catalogue.open(catalogue.run(name).key).timesteps == steps
    identities = {catalogue.identity(offer.key) for offer in catalogue.offers()}
    assert len(identities) == 2  # the usual run's, which is the directory's, and the other's


# What the operator names


def test_the_words_of_the_command_line_are_read_back() -> None:
    named = Named((Path("/a b"), Path("c")), ("x/y",), (Path("d"),))
    assert named_models(["--store", "s", *named.words]) == named
    assert named_models(["--models=m", "--hub=z", "--models"]) == Named((Path("m"),), ("z",))
    assert named_models([]) == Named()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (Named((Path("nowhere"),)), "models: nowhere: no such directory"),
        (Named((), (), (Path("gone"),)), "saes: gone: no such directory"),
        (Named((), ("../x",)), "hub: '../x' is no id of the hub"),
        (Named((), ("/etc/x",)), "is no id"),
        (Named((), ("a/b/c",)), "is no id"),
    ],
)
def test_what_is_named_wrongly_is_said_at_once(named: Named, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Catalogue(None, named)
