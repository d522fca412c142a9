"""Each wrong value of the inventory and the secrets is named."""

import copy
import json

import pytest

from pipeline.inventory import APP_ID, InventoryError, load_inventory, load_secrets, parse_inventory

DOCUMENT = {
    "publicUrl": "http://flathub.test/",
    "github": {"organization": "flathub", "url": "http://github.test", "apiUrl": "http://github.test/api/v3"},
    "publisher": "repo",
    "workers": [
        {"name": "builder-1", "architectures": ["i386", "x86_64"], "maxBuilds": 1},
        {"name": "builder-2", "architectures": ["x86_64"], "maxBuilds": 3},
    ],
}
PASSWORDS = {name: f"password of {name}" for name in ("builder-1", "builder-2", "repo")}


def test_what_is_derived():
    inventory = parse_inventory(DOCUMENT)
    assert inventory.public_url == "http://flathub.test"
    assert inventory.architectures == ("x86_64", "i386")
    assert (inventory.slots("x86_64"), inventory.slots("i386")) == (3, 1)
    assert inventory.workers_for("x86_64", 1) == ("builder-1", "builder-2")
    assert inventory.workers_for("x86_64", 2) == ("builder-2",)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["publicUrl"], "ftp://x", "publicUrl: expected an http"),
        (["github"], None, "github: expected an object"),
        (["github", "organization"], "a/b", "github.organization: expected a GitHub organisation"),
        (["github", "url"], "http://x y", "github.url: expected an http"),
        (["github", "apiUrl"], 7, "github.apiUrl: expected an http"),
        (["github", "token"], "x", "github.token: unknown key"),
        (["publisher"], "Repo", "publisher: expected a machine's name"),
        (["workers"], [], "workers: expected a list that is not empty"),
        (["workers", 0, "name"], "builder_1", r"workers\[0\].name: expected a machine's name"),
        (["workers", 1, "name"], "builder-1", r"workers\[1\].name: expected a name that no other worker has"),
        (["workers", 1, "name"], "repo", r"workers\[1\].name: expected a name that no other worker has"),
        (["workers", 0, "architectures"], [], r"workers\[0\].architectures: expected some of"),
        (["workers", 0, "architectures"], ["riscv64"], r"workers\[0\].architectures: .*riscv64"),
        (["workers", 0, "architectures"], ["arm", "arm"], r"workers\[0\].architectures: .*each once"),
        (["workers", 0, "architectures"], [["arm"]], r"workers\[0\].architectures: expected some of"),
        (["workers", 0, "maxBuilds"], 0, r"workers\[0\].maxBuilds: .*from 1 to 16, found 0"),
        (["workers", 0, "maxBuilds"], True, r"workers\[0\].maxBuilds: .*found true"),
        (["workers", 0, "maxBuilds"], "1", r"workers\[0\].maxBuilds: "),
        (["colour"], "red", "colour: unknown key; known: publicUrl"),
    ],
)
def test_a_wrong_value_is_named(path, value, message):
    document = copy.deepcopy(DOCUMENT)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InventoryError, match=f"^inventory.json: {message}"):
        parse_inventory(document)


@pytest.mark.parametrize("key", sorted(DOCUMENT))
def test_a_missing_field_is_named(key):
    with pytest.raises(InventoryError, match=f"inventory.json: {key}: missing"):
        parse_inventory({name: value for name, value in DOCUMENT.items() if name != key})


def test_all_faults_are_named_at_once(tmp_path):
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps({**DOCUMENT, "publicUrl": 1, "publisher": 2}))
    with pytest.raises(InventoryError) as caught:
        load_inventory(path)
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == [" publisher", " publicUrl"]
    path.write_text("{")
    with pytest.raises(InventoryError, match="not JSON"):
        load_inventory(path)
    with pytest.raises(InventoryError, match="no such file"):
        load_inventory(tmp_path / "none")


def write_secrets(folder, **changes):
    content = {
        "worker-passwords.json": json.dumps(PASSWORDS),
        "change-hook-secret": "hook",
        "github-token": "token\n",
        **{name.replace("_", "-").replace("-json", ".json"): value for name, value in changes.items()},
    }
    for name, value in content.items():
        (folder / name).write_text(value)
    return folder


def test_secrets(tmp_path):
    secrets = load_secrets(write_secrets(tmp_path), parse_inventory(DOCUMENT))
    assert secrets.worker_passwords == PASSWORDS
    assert secrets.github_token == "token"
    assert "token" not in repr(secrets) and "password" not in repr(secrets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"change_hook_secret": " \n"}, "secret change-hook-secret: is empty"),
        ({"github_token": ""}, "secret github-token: is empty"),
        ({"worker_passwords_json": "secretsecret"}, "secret worker-passwords.json: not JSON"),
        ({"worker_passwords_json": json.dumps({**PASSWORDS, "x": "p" * 12})}, "x: unknown key"),
        ({"worker_passwords_json": json.dumps({**PASSWORDS, "repo": "short"})}, "repo: expected a string of at least"),
        ({"worker_passwords_json": json.dumps({"repo": "p" * 12})}, "builder-1: missing"),
    ],
)
def test_a_wrong_secret_is_named_but_never_shown(tmp_path, changes, message):
    with pytest.raises(InventoryError, match=message) as caught:
        load_secrets(write_secrets(tmp_path, **changes), parse_inventory(DOCUMENT))
    assert "secretsecret" not in str(caught.value) and "short" not in str(caught.value)


def test_a_missing_secret_is_named(tmp_path):
    write_secrets(tmp_path)
    (tmp_path / "github-token").unlink()
    with pytest.raises(InventoryError, match="secret github-token: no such file"):
        load_secrets(tmp_path, parse_inventory(DOCUMENT))


@pytest.mark.parametrize(
    ("name", "fine"),
    [
        ("org.gnu.hello", True),
        ("org.example.App-Name", True),
        ("a.b", True),
        ("org", False),
        ("org.example-x.App", False),
        ("org..App", False),
        ("org.1.App", False),
        ("org.example.App\n", False),
        ("../org.example", False),
        ("org.example.a;b", False),
        ("a." + "b" * 254, False),
    ],
)
def test_application_ids(name, fine):
    assert (APP_ID.fullmatch(name) is not None) == fine
