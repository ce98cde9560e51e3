"""Loading of plugins: installed, disabled, broken and refused ones."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from installed import install
from plugin_objects import Offering, report, with_plugins

from nanoclaw_core import (
    Channel,
    PluginError,
    hookimpl,
)
from nanoclaw_core.plugins import PluginReport, Plugins, PluginState, find_installed_plugins


def load(disabled: Iterable[str] = ()) -> Plugins:
    plugins = Plugins()
    plugins.load_installed(frozenset(disabled))
    return plugins


# Load


def test_installed_plugin_is_loaded_with_its_distribution(site: Path) -> None:
    install(site, "acme-chat", "acme", "'''A plugin.'''")
    assert report(load(), "acme") == PluginReport(name="acme", source="acme-chat 1.2", state=PluginState.ACTIVE)


@pytest.mark.parametrize("source", ["import a_module_that_is_not_there", "1 / 0", "import sys; sys.exit('no')", "def"])
def test_plugin_with_an_import_error_fails_alone(site: Path, source: str) -> None:
    install(site, "acme-bad", "acme_bad", source, plugin="bad")
    install(site, "acme-good", "acme_good", "'''A plugin.'''", plugin="good")
    plugins = load()
    assert report(plugins, "bad").state is PluginState.FAILED
    assert report(plugins, "bad").reason
    assert report(plugins, "good").state is PluginState.ACTIVE


def test_plugin_with_an_unknown_hook_fails_alone(site: Path) -> None:
    hook = "from nanoclaw_core import hookimpl\n@hookimpl\ndef nanoclaw_chanels(): ..."
    install(site, "acme-bad", "acme_bad", hook, plugin="bad")
    install(site, "acme-good", "acme_good", "'''A plugin.'''", plugin="good")
    plugins = load()
    assert "nanoclaw_chanels" in report(plugins, "bad").reason
    assert report(plugins, "good").state is PluginState.ACTIVE


def test_two_distributions_of_one_name_prevent_the_start(site: Path) -> None:
    install(site, "acme-one", "acme_one", "", plugin="chat")
    install(site, "acme-two", "acme_two", "", plugin="chat")
    with pytest.raises(PluginError, match=r"acme-one 1\.2 and acme-two 1\.2"):
        load()


def test_distribution_twice_on_the_path_counts_once(site: Path, tmp_path: Path) -> None:
    install(site, "acme-chat", "acme", "")
    install(tmp_path / "older", "Acme_Chat", "acme", "")
    sys.path += [str(site), str(tmp_path / "older")]
    assert [plugin.source for plugin in find_installed_plugins()] == ["acme-chat 1.2"]


def test_interrupted_installation_is_ignored(site: Path) -> None:
    install(site, "acme-chat", "acme", "")
    (site / "broken-1.0.dist-info").mkdir()
    broken = site / "worse-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_bytes(b"\xff\xfe\0")
    (broken / "entry_points.txt").write_text("[nanoclaw\nthis is = no = entry point")
    assert report(load(), "acme").state is PluginState.ACTIVE


def test_disabled_plugin_is_not_imported(site: Path) -> None:
    install(site, "acme-chat", "acme", "raise SystemExit('imported')")
    assert report(load(["acme"]), "acme") == PluginReport(
        name="acme", source="acme-chat 1.2", state=PluginState.DISABLED
    )
    assert "acme" not in sys.modules


def test_disabled_name_covers_all_its_distributions(site: Path) -> None:
    install(site, "acme-one", "acme_one", "", plugin="chat")
    install(site, "acme-two", "acme_two", "", plugin="chat")
    assert report(load(["chat"]), "chat").state is PluginState.DISABLED


def test_find_installed_imports_no_plugin(site: Path) -> None:
    install(site, "acme-chat", "acme", "raise SystemExit('imported')")
    program = f"""
import sys
sys.path.insert(0, {str(site)!r})
before = set(sys.modules)
from nanoclaw_core.plugins import find_installed_plugins
names = [plugin.name for plugin in find_installed_plugins()]
assert "acme" in names, names
ours = [name for name in sys.modules if name == "acme" or name.startswith("nanoclaw_") and name not in before]
print(*{{name.split(".")[0] for name in ours}})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"nanoclaw_core", "nanoclaw_settings", "nanoclaw_untrusted", "nanoclaw_wire"}


def test_class_as_plugin_is_refused() -> None:
    with pytest.raises(PluginError, match="it is a class"):
        Plugins().add(Offering, name="acme")


def test_hook_wrapper_is_refused() -> None:
    class Wrapping:
        @hookimpl(wrapper=True)
        def nanoclaw_channels(self) -> Iterator[None]:
            return (yield)

    with pytest.raises(PluginError, match="nanoclaw_channels is a hook wrapper"):
        Plugins().add(Wrapping(), name="acme")


def test_hook_with_an_unknown_argument_is_refused() -> None:
    class Asking:
        @hookimpl
        def nanoclaw_channels(self, settings: object) -> None: ...

    with pytest.raises(PluginError, match="settings"):
        Plugins().add(Asking(), name="acme")


def test_plugin_with_a_raising_attribute_is_refused() -> None:
    class RaisingAttribute:
        @property
        def anything(self) -> None:
            raise ZeroDivisionError("not now")

    with pytest.raises(PluginError, match="not now"):
        Plugins().add(RaisingAttribute(), name="acme")


def test_refused_plugin_leaves_no_trace() -> None:
    class Misspelt(Offering):
        @hookimpl
        def nanoclaw_chanels(self) -> None: ...

    plugins = Plugins()
    with pytest.raises(PluginError, match="nanoclaw_chanels"):
        plugins.add(Misspelt("lost"), name="acme")
    plugins.add(Offering("kept"), name="acme")
    assert list(plugins.collect("nanoclaw_channels", Channel)) == ["kept"]


@pytest.mark.parametrize("name", ["", "Acme", "acme_chat", "1acme", "a" * 41, "a b", "acme\n"])
def test_plugin_name_must_be_one_lower_case_word(name: str) -> None:
    with pytest.raises(PluginError, match="lower-case"):
        Plugins().add(Offering(), name=name)


def test_second_plugin_of_one_name_is_refused() -> None:
    plugins = with_plugins(acme=Offering())
    with pytest.raises(PluginError, match="in process and in process"):
        plugins.add(Offering(), name="acme")


def test_require_names_a_failed_plugin_and_its_reason(site: Path) -> None:
    install(site, "acme-bad", "acme_bad", "1 / 0", plugin="bad")
    with pytest.raises(PluginError, match=r"'bad' does not work \(ZeroDivisionError"):
        load().require(["bad"])


def test_require_names_a_missing_or_disabled_plugin(site: Path) -> None:
    install(site, "acme-chat", "acme", "")
    with pytest.raises(PluginError, match="'nowhere' is not installed"):
        load().require(["nowhere"])
    with pytest.raises(PluginError, match=r"'acme' does not work \(disabled"):
        load(["acme"]).require(["acme"])
