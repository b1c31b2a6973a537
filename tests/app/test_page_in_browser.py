"""The page as a person uses it, in Chromium: with a mouse, with keys alone, on a phone, and when things go wrong."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_server import PATIENCE, Server, until

pytestmark = pytest.mark.browser

DESKTOP, PHONE = dict(width=1280, height=900), dict(width=390, height=844)
#: Roles of what a person does something with.
CONTROLS = {"button", "checkbox", "combobox", "link", "listbox", "radio", "slider", "spinbutton", "textbox", "Video"}


@pytest.fixture(scope="module")
def server(serve, films, make_film) -> Server:
    make_film(films / "clip.mp4", n=30, size=(48, 64))
    (films / "notes.mp4").write_text("this is no film")
    return serve(films)


@pytest.fixture
def page(server, browser) -> Iterator:
    """The page, just opened; whatever it asks for, it asks its own server for."""
    yield from opened(server, browser, DESKTOP)


def opened(server: Server, browser, size: dict[str, int], **words: object) -> Iterator:
    context = browser.new_context(viewport=size, **words)
    context.set_default_timeout(PATIENCE * 1000)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(server.address)
    wait_for(page, "#jobs", r"There are no jobs|Job \d")  # which its own script says
    yield page
    context.close()
    assert asked
    assert [url for url in asked if not url.startswith((server.address, "data:", "blob:"))] == []


def wait_for(page, place: str, words: str) -> str:
    """Wait until some text is there, and return it."""
    is_there = "([place, words]) => new RegExp(words).test(document.querySelector(place)?.innerText ?? '')"
    try:
        page.wait_for_function(is_there, arg=[place, words])
    except Exception as error:
        raise AssertionError(f"{words} is not said; the page says: {page.inner_text('body')}") from error
    return page.locator(place).inner_text()


def choose(page, name: str, *, expected: str | None = None) -> str:
    box = page.get_by_role("combobox", name="Video, or folder of images")
    box.fill(name)
    box.press("Enter")
    return wait_for(page, "#facts", re.escape(name) if expected is None else expected)


def choose_small_weights(page) -> None:
    """Those of the small network, and no cleaning, which takes longer."""
    box = page.get_by_role("combobox", name="Weights")
    box.click()
    box.press("Backspace")
    box.fill("small.pth")
    box.press("Enter")
    page.get_by_role("button", name="Remove small.pth").wait_for()
    box.press("Escape")
    page.get_by_role("checkbox", name="off").check()
    page.get_by_role("checkbox", name="as usual").uncheck()
    wait_for_choice(page, "small.pth, cleaning off")


def wait_for_choice(page, words: str) -> None:
    """Wait until that is what the whole would be restored with."""
    field = page.get_by_role("combobox", name="With")
    until(lambda: field.input_value() == words, field.input_value)


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def start(page, output: str) -> int:
    """Begin a job and return its number."""
    page.get_by_role("textbox", name="Output").fill(output)
    page.get_by_role("textbox", name="Output").press("Tab")
    wait_for(page, "#command", "")
    page.wait_for_function("(name) => document.querySelector('#command textarea')?.value.includes(name)", arg=output)
    button(page, "Start").click()
    item = page.locator("#jobs li").filter(has_text=f"/{output}")
    item.wait_for()
    return int(item.get_attribute("data-job"))


def job(number: int) -> str:
    return f'#jobs [data-job="{number}"]'


def test_from_a_film_to_a_restored_film(page, server, browser, films, real_clip) -> None:
    shutil.copy(real_clip("carphone_pristine"), films / "carphone.mp4")
    said = choose(page, "carphone.mp4")
    assert "176x144" in said
    choose_small_weights(page)
    frame = page.locator("#frame img")
    frame.wait_for()

    button(page, "Preview").click()
    wait_for(page, "#preview-state", "Before and after at")
    after = page.locator("#shown img.vsr-after")
    after.wait_for()
    sizes = "img => img.decode().then(() => [img.naturalWidth, img.naturalHeight])"
    assert after.evaluate(sizes) == [704, 576]
    assert frame.evaluate(sizes) == [176, 144]
    estimate = wait_for(page, "#estimate", r"about .* for \d+ frames .*; disk: .*; memory: .*")
    command = page.locator("#command textarea").input_value()
    assert command.startswith(f"vsr-plugin restore {films}/carphone.mp4 {films}/carphone_restored.mp4 --weights")
    assert command.endswith("small.pth --clean off")

    number = start(page, "carphone_restored.mp4")
    wait_for(page, job(number), r"[1-9]\d* of \d+ frames")
    page.reload()
    wait_for(page, job(number), r"is running")
    other = next(second := opened(server, browser, DESKTOP))
    wait_for(other, job(number), r"is running")
    page.get_by_role("button", name=f"Pause (job {number})").click()
    wait_for(page, job(number), "is paused; what is done is kept")
    wait_for(other, job(number), "is paused; what is done is kept")
    assert not (films / "carphone_restored.mp4").exists()
    other.get_by_role("button", name=f"Take up again (job {number})").click()
    wait_for(page, job(number), f"Job {number} is done")
    frames = int(re.search(r"for (\d+) frames", estimate)[1])
    with pytest.raises(StopIteration):
        next(second)

    wait_for(page, "#result", "Restored: carphone_restored.mp4")
    page.locator("#result video").nth(1).wait_for()
    assert page.locator("#result figcaption").all_inner_texts() == [
        "Original: carphone.mp4",
        "Restored: carphone_restored.mp4",
    ]
    share = "() => document.querySelector('#result video').offsetWidth / document.querySelector('#result').offsetWidth"
    assert page.evaluate(share) > 0.4  # two beside each other take all of the width
    button(page, "Play or stop both").click()
    playing = "() => [...document.querySelectorAll('#result video')].every(v => v.currentTime > 0.2)"
    page.wait_for_function(playing)
    import av

    with av.open(str(films / "carphone_restored.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == frames


def test_before_and_after_move_together_and_enlarge(page) -> None:
    choose(page, "clip.mp4")
    choose_small_weights(page)
    page.get_by_role("checkbox", name="by 2").check()
    page.wait_for_function("() => document.querySelector('#command textarea')?.value.includes('small.pth')")
    button(page, "Preview").click()
    page.locator("#shown figure").nth(1).wait_for()
    views = page.locator("#shown .vsr-window")
    views.nth(0).scroll_into_view_if_needed()
    box = views.nth(0).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.up()
    wipe = page.get_by_role("slider", name="Border between before and after")
    assert abs(float(wipe.input_value()) - 25) <= 1
    clips = "() => [...document.querySelectorAll('.vsr-after')].map(img => getComputedStyle(img).clipPath)"
    assert len(set(page.evaluate(clips))) == 1
    page.get_by_role("combobox", name="Zoom").select_option("4")
    widths = page.locator(".vsr-canvas").evaluate_all("all => all.map(each => each.getBoundingClientRect().width)")
    assert widths == [256 * 4, 128 * 4]  # pixels of the output, four times
    views.nth(0).evaluate("view => { view.scrollLeft = 0; }")
    page.wait_for_function("() => [...document.querySelectorAll('.vsr-window')].every(view => view.scrollLeft === 0)")

    # What was made is there at once, and another choice picks another command.
    button(page, "Preview").click()
    wait_for(page, "#preview-state", "Before and after at")
    page.get_by_role("combobox", name="With").click()
    page.get_by_role("option", name="small.pth, cleaning off, shrunk by 2").click()
    page.wait_for_function("() => document.querySelector('#command textarea').value.endsWith('--shrink 2.0')")


def test_a_short_clip_is_played(page) -> None:
    choose(page, "clip.mp4")
    choose_small_weights(page)
    button(page, "Two seconds around the moment, as a clip").click()
    video = page.locator("#clip-shown video")
    video.wait_for()
    page.wait_for_function("() => document.querySelector('#clip-shown video').videoWidth === 256")


def test_what_is_being_made_is_stopped(page, films, real_clip) -> None:
    shutil.copy(real_clip("bigbuckbunny"), films / "large.mp4")  # of which even the small network has enough to do
    choose(page, "large.mp4")
    choose_small_weights(page)
    button(page, "Preview").click()
    wait_for(page, "#preview-state", "small.pth, cleaning off: ")
    button(page, "Stop the preview").click()
    assert wait_for(page, "#preview-state", "stopped").strip() == "stopped"
    button(page, "Two seconds around the moment, as a clip").click()
    wait_for(page, "#said", "2 seconds are being restored")
    button(page, "Stop the preview").click()
    assert wait_for(page, "#said", "stopped").strip() == "stopped"
    assert page.locator("#shown img, #clip-shown video").count() == 0


def test_the_page_says_nothing_of_what_is_not_there(page, films) -> None:
    border = page.get_by_role("slider", name="Border between before and after")
    assert border.count() == 0
    button(page, "Start").click()
    wait_for(page, "#said", "choose a video or a folder of images first")
    choose(page, "clip.mp4")
    page.wait_for_function("() => document.querySelector('#said').innerText.trim() === ''")
    shutil.copy(films / "clip.mp4", films / "twin.mp4")
    choose(page, "twin.mp4")  # its middle is at the same moment
    page.wait_for_function("() => document.querySelector('#frame img').src.includes('twin.mp4')")
    choose(page, "gone.mp4", expected="no such file or folder")
    page.locator("#frame img").wait_for(state="detached")
    choose(page, "clip.mp4")
    end = page.locator("#moment input[type=range]").get_attribute("max")
    assert re.fullmatch(r"\d+(\.\d{1,3})?", end)
    choose_small_weights(page)
    button(page, "Preview").click()
    border.wait_for()


def test_jobs_wait_for_each_other_fail_and_are_cancelled(page, films) -> None:
    choose(page, "clip.mp4")
    choose_small_weights(page)
    first = start(page, "none/a.mp4")
    second = start(page, "b.mp4")
    third = start(page, "c.mp4")
    said = wait_for(page, job(first), "has failed")
    assert "none does not exist; create the folder first" in said
    page.get_by_role("button", name=f"Cancel (job {third})").click()
    page.locator(job(third)).wait_for(state="detached")
    page.get_by_role("button", name=f"Cancel (job {first})").click()
    page.locator(job(first)).wait_for(state="detached")
    wait_for(page, job(second), f"Job {second} is done")
    assert (films / "b.mp4").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../x.mp4", "is outside the folders of this page"),
        ("/etc/passwd", "is outside the folders of this page"),
        ("%2e%2e/x.mp4", "no such file or folder"),
        ("notes.mp4", r"notes\.mp4: "),
    ],
)
def test_what_is_no_film_for_the_page_is_one_line(page, films, name, message) -> None:
    said = choose(page, name, expected=message)
    assert "\n" not in said.strip()
    assert page.locator("#facts [role=alert]").count() == 1


def test_uploads(page, films, server) -> None:
    field = page.locator("#upload input")
    field.set_input_files(dict(name="letter.mp4", mimeType="video/mp4", buffer=b"no film"))
    assert "letter.mp4: " in wait_for(page, "#upload", "letter")
    page.route("**/upload?*", lambda route: route.abort("connectionreset"))
    field.set_input_files(dict(name="half.mp4", mimeType="video/mp4", buffer=b"no film"))
    wait_for(page, "#upload", "half.mp4: the upload was cut off; nothing of it is kept")
    page.unroute("**/upload?*")
    field.set_input_files(dict(name="new.mp4", mimeType="video/mp4", buffer=(films / "clip.mp4").read_bytes()))
    wait_for(page, "#facts", r"new\.mp4: 64x48")
    assert (films / "new.mp4").exists()
    assert not list(films.rglob("letter*")) + list(films.rglob("half*"))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_control_has_a_name_and_fits(server, browser, size) -> None:
    looked = opened(server, browser, size)
    page = next(looked)
    choose(page, "clip.mp4")
    choose_small_weights(page)
    button(page, "Preview").click()
    page.locator("#shown img").first.wait_for()
    page.get_by_role("button", name="More options").click()
    page.get_by_role("spinbutton").first.wait_for()
    page.get_by_role("combobox", name="strategy").wait_for()
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in CONTROLS]
    assert len(controls) > 40
    assert [node for node in controls if not node.get("name", {}).get("value")] == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size["width"]
    with pytest.raises(StopIteration):
        next(looked)


def test_with_keys_alone(page) -> None:
    def tab_to(name: str) -> None:
        """Go on until what has the focus is called so."""
        script = """() => { const it = document.activeElement, labels = [...(it.labels ?? [])].map(l => l.innerText);
            return [it.getAttribute('aria-label'), ...labels, it.innerText].join('|'); }"""
        for _ in range(150):
            page.keyboard.press("Tab")
            if name in page.evaluate(script):
                return
        raise AssertionError(f"{name} is not reached")

    tab_to("Video, or folder of images")
    page.keyboard.type("clip.mp4")
    page.keyboard.press("Enter")
    wait_for(page, "#facts", "64x48")
    tab_to("Weights")
    page.keyboard.press("Backspace")
    page.keyboard.type("small.pth")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Remove small.pth").wait_for()
    page.keyboard.press("Escape")
    tab_to("as usual")
    page.keyboard.press("Space")
    tab_to("off")
    page.keyboard.press("Space")
    wait_for_choice(page, "small.pth, cleaning off")
    tab_to("Preview")
    page.keyboard.press("Enter")
    page.locator("#shown img").first.wait_for()
    tab_to("Border between before and after")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.documentElement.style.getPropertyValue('--vsr-wipe')") == "51%"
    tab_to("Output")
    page.keyboard.press("Control+a")
    page.keyboard.type("by_keys.mp4")
    tab_to("Start")
    page.keyboard.press("Enter")
    number = int(re.search(r"\d+", wait_for(page, "#said", r"Job \d+ is in the queue"))[0])
    tab_to(f"Pause (job {number})")
    page.keyboard.press("Enter")
    wait_for(page, job(number), f"Job {number} is (paused|done)")


def test_a_killed_server_is_started_again(serve, browser, films, tmp_path, real_clip) -> None:
    shutil.copy(films / "small.pth", tmp_path)
    shutil.copy(real_clip("carphone_pristine"), tmp_path / "in.mp4")
    server = serve(tmp_path)
    looked = opened(server, browser, DESKTOP)
    page = next(looked)
    choose(page, "in.mp4")
    choose_small_weights(page)
    number = start(page, "out.mp4")
    wait_for(page, job(number), r"[1-9]\d* of \d+ frames")
    server.end(signal.SIGKILL)
    wait_for(page, "#jobs", "The server does not answer")
    port = re.search(r":(\d+)/", server.address)[1]
    serve(tmp_path, "--port", port)
    wait_for(page, job(number), f"Job {number} is done")
    assert (tmp_path / "out.mp4").exists()
    until(lambda: not Path(tmp_path / ".out.mp4.job").exists())
    with pytest.raises(StopIteration):
        next(looked)
