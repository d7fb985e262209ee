"""The page of data in a real browser: what is put in by choice or by drop comes out again byte for byte, names are only text, and
nobody does there what their rights do not give."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.conftest import sign_in
from tests.browser.data_house import choose, make_data, opened, picture, row, saved
from tests.browser.data_house import complaints as complaints
from tests.browser.data_house import house as house
from tests.support.running_site import PASSWORD, RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.engine]

HOSTILE = "<img src=x onerror=alert(1)>.html"
#: Escapes that the page shows for a line end, a turn of the direction of writing, and a byte that is no text.
RAW = b"line\nend \xe2\x80\xaetxt.exe \xff"


def test_create_upload_and_get_it_back(
    house: RunningSite, context: BrowserContext, complaints: list[str], tmp_path: Path
) -> None:
    large, folder = tmp_path / "large.bin", tmp_path / "album"
    large.write_bytes(os.urandom(20 * 2**20 + 17))
    os.utime(large, (1_600_000_000, 1_600_000_000))
    (folder / "deep" / "er").mkdir(parents=True)
    for path, content in (("a.txt", b"a"), ("deep/empty", b""), ("deep/er/ü b.txt", b"b" * 5000)):
        (folder / path).write_bytes(content)
    page = context.new_page()
    sign_in(page, house, "dana", PASSWORD)
    page.get_by_role("link", name="Data", exact=True).click()
    page.get_by_label("New data").fill("album")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="acme.dana.album")).to_be_visible()
    choose(page, "Upload files", large)
    expect(row(page, "large.bin")).to_contain_text("20 MiB")
    expect(row(page, "large.bin")).to_contain_text("2020-09-13 12:26 UTC")
    choose(page, "Upload a folder", folder)
    expect(row(page, "album")).to_be_visible()
    found, content = saved(page, row(page, "large.bin").get_by_role("button", name="Download"))
    assert found.suggested_filename == "large.bin"
    assert content == large.read_bytes()
    page.get_by_role("link", name="album", exact=True).last.click()
    found, content = saved(page, page.get_by_role("button", name="Download as .tar"))
    assert found.suggested_filename == "album.tar"
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]
    assert files == {
        f"album/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    picture(page, "folder")


def test_drop_files_and_folders(
    house: RunningSite, context: BrowserContext, complaints: list[str], tmp_path: Path
) -> None:
    data_id, live = make_data(house)
    page = opened(context, house, data_id)
    expect(page.get_by_role("button", name="Upload files")).to_be_visible()
    page.evaluate(
        """name => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["dropped"], name));
            dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
        }""",
        HOSTILE,
    )
    expect(row(page, HOSTILE)).to_be_visible()
    assert (live / HOSTILE).read_text() == "dropped"
    # From the desktop, as the browser itself sees it: a folder with all that is in it.
    tree = tmp_path / "tree"
    (tree / "no files" / "below").mkdir(parents=True)
    (tree / "zero").touch()
    for number in range(120):
        (tree / f"{number}.txt").write_text(str(number))
    desktop, where = context.new_cdp_session(page), page.locator("#browse").bounding_box()
    assert where is not None
    dragged = {"items": [], "files": [str(tree)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": where["x"] + 50, "y": where["y"] + 50}
        desktop.send("Input.dispatchDragEvent", {"type": kind, **place, "data": dragged})
    expect(row(page, "tree")).to_be_visible()
    assert {str(path.relative_to(tree)) for path in tree.rglob("*")} == {
        str(path.relative_to(live / "tree")) for path in (live / "tree").rglob("*")
    }
    assert (live / "tree/119.txt").read_text() == "119"
    assert (live / "tree/zero").read_bytes() == b""


def test_names_and_content_are_only_text_and_bytes(
    house: RunningSite, context: BrowserContext, complaints: list[str]
) -> None:
    data_id, live = make_data(house)
    (live / HOSTILE).write_text("<script>alert(document.domain)</script>")
    (live / os.fsdecode(RAW)).write_bytes(b"raw")
    (live / "passwd").symlink_to("/etc/passwd")
    (live / "up").symlink_to("../..")
    os.mkfifo(live / "pipe")
    (live / f"\u05d0 {HOSTILE}").mkdir()
    page = opened(context, house, data_id)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    found, content = saved(page, row(page, HOSTILE).get_by_role("button", name="Download"))
    assert content == (live / HOSTILE).read_bytes()
    assert found.suggested_filename.endswith(".html")
    assert page.url.startswith(house.url)
    raw = row(page, r"line\nend \u202etxt.exe \xff")
    assert saved(page, raw.get_by_role("button", name="Download"))[1] == b"raw"
    expect(page.get_by_role("row", name="passwd")).to_contain_text("→ /etc/passwd (link, not followed)")
    for name in ("passwd", "up", "pipe"):
        expect(page.get_by_role("row", name=name)).not_to_contain_text("Download")
        answer = context.request.get(f"{page.url}?path={name}")
        assert answer.status == 404
        assert "root:" not in answer.text()
    picture(page, "names")
    raw.get_by_role("button", name="Rename").click()
    page.get_by_label("Name", exact=True).fill("tame")
    page.keyboard.press("Enter")
    expect(row(page, "tame")).to_be_visible()
    assert (live / "tame").read_bytes() == b"raw"
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator(".crumbs")).to_contain_text(HOSTILE)
    expect(page.get_by_text("This folder is empty.")).to_be_visible()


def test_folders_and_names_by_keyboard(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    data_id, live = make_data(house)
    page = opened(context, house, data_id)

    def press(name: str, inside: Page | Locator = page) -> None:
        inside.get_by_role("button", name=name).focus()
        page.keyboard.press("Enter")

    press("New folder")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type("results")
    page.keyboard.press("Enter")
    expect(row(page, "results")).to_be_visible()
    press("Rename", row(page, "results"))
    page.keyboard.type("a/b")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_contain_text("A name has no slash")
    press("Rename", row(page, "results"))
    page.keyboard.type("old results")
    page.keyboard.press("Enter")
    expect(row(page, "old results")).to_be_visible()
    press("Delete", row(page, "old results"))
    expect(page.get_by_role("dialog")).to_contain_text("old results and all that is in it")
    picture(page, "delete")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert (live / "old results").is_dir()
    (live / "old results" / "file").touch()
    press("Delete", row(page, "old results"))
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This folder is empty.")).to_be_visible()
    assert list(live.iterdir()) == []
    press("New folder")
    page.keyboard.type("taken")
    (live / "taken").touch()
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_contain_text("is no folder, but a file")


#: Presses one after the other before the next frame is drawn, as on a machine that is busy: "ROW act" or the id of a button.
PRESS = """presses => presses.forEach((press) => {
    const [name, act] = press.split(" ");
    const row = [...document.querySelectorAll("tr[data-name]")].find((one) => JSON.parse(one.dataset.name) === name);
    (row ? row.querySelector(`[data-act=${act}]`) : document.getElementById(name)).click();
})"""


def test_each_question_gets_its_own_answer(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    """The browser tells the page with the next frame only that a dialog was closed."""
    data_id, live = make_data(house)
    for name in ("kept", "gone", "last"):
        (live / name).touch()
    page = opened(context, house, data_id)
    expect(row(page, "kept").get_by_role("button", name="Delete")).to_be_visible()
    page.evaluate(PRESS, ["kept remove", "ask-no", "gone remove", "ask-yes"])
    expect(row(page, "gone")).to_have_count(0)
    expect(row(page, "kept").get_by_role("button", name="Delete")).to_be_visible()
    assert {path.name for path in live.iterdir()} == {"kept", "last"}
    # The first question is answered with no; the second one stays, and is answered later.
    page.evaluate(PRESS, ["kept remove", "ask-no", "last remove"])
    page.evaluate("() => new Promise(requestAnimationFrame)")
    expect(page.get_by_role("dialog")).to_contain_text("last")
    page.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(row(page, "last")).to_have_count(0)
    expect(row(page, "kept")).to_be_visible()
    assert [path.name for path in live.iterdir()] == ["kept"]


def test_what_the_rights_do_not_give(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    data_id, live = make_data(house, reader="reader")
    (live / "file").write_text("content")
    hidden_id, _ = make_data(house)
    page = opened(context, house, data_id, "reader")
    expect(page.get_by_text("You may read this data, and not change it: that needs data:set")).to_be_visible()
    assert saved(page, row(page, "file").get_by_role("button", name="Download"))[1] == b"content"
    for name in ("Upload files", "Upload a folder", "New folder", "Rename", "Delete", "Commit"):
        expect(page.get_by_role("button", name=name, include_hidden=True)).to_have_count(0)
    picture(page, "reader")
    for method, what, body in (
        ("PUT", "upload?path=file&size=1&offset=0", "x"),
        ("POST", "remove", '{"paths": ["file"]}'),
        ("POST", "move", '{"from": "file", "to": "other"}'),
    ):
        status, answer = page.evaluate(ASK, [method, what, body])
        assert status == 403
        assert "data:set" in answer["error"]["message"]
    assert (live / "file").read_text() == "content"
    # The ticket is for this data, and for nothing else.
    other = page.locator("#browse").get_attribute("data-host").replace(data_id, hidden_id)  # type: ignore[union-attr]
    page.locator("#browse").evaluate("(element, other) => (element.dataset.host = other)", other)
    assert page.evaluate(ASK, ["GET", "file?path=file", None])[0] in (400, 404)
    for path in ("", "?path=file", "/ticket"):
        assert context.request.get(f"{house.url}/services/toolkit/data/{hidden_id}{path}").status in (400, 404)
    page.goto(f"{house.url}/services/toolkit/data/{hidden_id}")
    expect(page.get_by_role("heading", name="no such data")).to_be_visible()


#: A request as the page's own script sends it.
ASK = """async ([method, what, body]) => {
    const headers = { Authorization: "Bearer " + document.getElementById("save").elements.ticket.value };
    const reply = await fetch(document.getElementById("browse").dataset.host + "/" + what, { method, headers, body });
    return [reply.status, await reply.json()];
}"""


def test_a_page_of_another_origin_gets_nothing(house: RunningSite, context: BrowserContext, browser: Browser) -> None:
    """Not even with a ticket in its hands: the browser keeps answers from it, and sends nothing that changes something."""
    data_id, live = make_data(house)
    (live / "secret").write_text("secret")
    page = opened(context, house, data_id)
    host = page.locator("#browse").get_attribute("data-host")
    ticket = page.locator("#save input[name=ticket]").input_value()
    reply = httpx.get(
        f"http://127.0.0.1:{house.port + 1}/{str(host).split('/', 3)[3]}/file?path=secret",
        headers={"Host": str(host).split("/")[2], "Authorization": f"Bearer {ticket}", "Origin": "http://evil.example"},
    )
    assert reply.text == "secret"
    assert reply.headers["Content-Disposition"].startswith("attachment")
    assert "Access-Control-Allow-Origin" not in reply.headers
    foreign = browser.new_context(bypass_csp=True)  # as if a job had a page there, with a policy of its own
    stranger = foreign.new_page()
    stranger.goto(f"{house.settings.jobs_scheme}://{uuid.uuid4()}.{house.settings.jobs_domain}/")
    script = """async ([url, method, ticket]) => {
        const headers = ticket ? { Authorization: "Bearer " + ticket } : {};
        try { return await (await fetch(url, { method, headers, credentials: "include" })).text(); }
        catch (error) { return error.name; }
    }"""
    for what, method in (
        ("file?path=secret", "GET"),
        ("listing", "GET"),
        ("upload?path=new&size=0&offset=0", "PUT"),
        ("remove", "POST"),
    ):
        for given in (ticket, ""):
            assert stranger.evaluate(script, [f"{host}/{what}", method, given]) == "TypeError"
    here = f"{house.url}/services/toolkit/data/{data_id}"
    for address, method in ((here, "GET"), (f"{here}/ticket", "POST")):
        assert stranger.evaluate(script, [address, method, ""]) == "TypeError"
    foreign.close()
    assert [path.name for path in live.iterdir()] == ["secret"]
    # On our own origin the cookie alone is not enough for a ticket.
    status = page.evaluate("async url => (await fetch(url, { method: 'POST' })).status", f"{here}/ticket")
    assert status in (400, 401, 403)


def test_versions(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    data_id, live = make_data(house)
    (live / "folder").mkdir()
    (live / "folder" / "file").write_text("first")
    page = opened(context, house, data_id)
    page.get_by_label("Keep what the data holds now").fill("<b>first</b>")
    page.get_by_role("button", name="Commit").click()
    versions = page.get_by_role("region", name="Versions")
    expect(versions.get_by_role("row", name="<b>first</b>")).to_contain_text("acme.dana")
    (live / "folder" / "file").write_text("second")
    (live / "new").touch()
    versions.get_by_role("link", name="version 1").click()
    expect(page.get_by_text("A version never changes.")).to_be_visible()
    expect(row(page, "new")).to_have_count(0)
    expect(page.get_by_role("button", name="Upload files", include_hidden=True)).to_have_count(0)
    page.get_by_role("link", name="folder", exact=True).click()
    assert saved(page, row(page, "file").get_by_role("button", name="Download"))[1] == b"first"
    picture(page, "version")
    page.get_by_role("link", name="See it as it is now").click()
    assert saved(page, row(page, "file").get_by_role("button", name="Download"))[1] == b"second"
    page.goto(f"{house.url}/services/toolkit/data")
    expect(page.get_by_role("row").filter(has=page.locator(f"a[href$='{data_id}']"))).to_contain_text("1")
    picture(page, "list")
