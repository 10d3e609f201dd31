"""The playground in a real browser: ask, see a revision, slide, flip, download; by keyboard, in the dark, and unharmed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conscience import Conscience
from conscience.server import Policy
from conscience.testing import Fault, ScriptedLM, by_stage
from tests.support.browser import chromium
from tests.support.serving import serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(120), pytest.mark.xdist_group("page")]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script> \u202e\x1b[31m Kim"
FINDING = json.dumps({"findings": [{"principle": "honesty", "quote": HOSTILE, "why": HOSTILE, "change": "Say so."}]})
KEY = "operator-key"


def doubt(messages: list[dict[str, Any]], params: dict[str, Any]) -> float:
    """Sees the made-up name; of a pack's answers it doubts the longer ones more."""
    text = messages[-2]["content"]
    return 0.93 if "Kim" in text else min(0.98, len(text) / 450)


def scripted(messages: list[dict[str, Any]], params: dict[str, Any]) -> Any:
    """Slow when asked to wait, down when asked to fail."""
    asked = str(messages)
    if "Fail" in asked:
        return Fault("auth")
    if "Wait" in asked:
        time.sleep(1.5)
    answer = by_stage(f"{HOSTILE} proved it.", gate=doubt, critique=FINDING, revise="Nobody has proved it.")
    return answer(messages, params)


@contextmanager
def served(*policies: Policy) -> Iterator[str]:
    """The address of a playground on loopback."""
    programs = {
        "careful": Conscience("question -> answer", lm=ScriptedLM(scripted)),
        "doctor": Conscience("symptoms -> advice", lm=ScriptedLM(scripted), constitution="medical", threshold=0.3),
    }
    with serving(programs, policies=policies, only_local=not policies, playground=True) as running:
        yield f"{running.url}/playground"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where downloads land."""
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Any]:
    with chromium(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as at:
        yield at


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def wait(browser: Any, until: Any, seconds: float = 20) -> Any:
    """What ``until`` gives as soon as it gives something."""
    ends = time.monotonic() + seconds
    while not (value := until()):
        assert time.monotonic() < ends, one(browser, "body").text
        time.sleep(0.05)
    return value


def opened(browser: Any, address: str) -> None:
    browser.get(address)
    wait(browser, lambda: one(browser, "#main").is_displayed())
    browser.get_log("browser")


def asked(browser: Any, question: str) -> str:
    """Asks, and gives what the page says at the end."""
    one(browser, "#input-0").send_keys(question)
    one(browser, "#send").click()
    wait(browser, lambda: one(browser, "#send").is_enabled())
    return str(one(browser, "#status").text)


def test_ask_and_see_a_revision(browser: Any, address: str, folder: Path) -> None:
    """Each step in order; what a model wrote is shown as it is and does nothing; the outcome can be kept."""
    opened(browser, address)
    assert asked(browser, "Who proved it?").startswith("revised")
    steps = browser.find_elements("css selector", "#steps > li")
    names = [step.find_element("css selector", "h3").text for step in steps]
    assert names == ["Draft", "Gate", "Critique", "Revision 1", "Gate", "Returned: revised"]
    assert "<img src=x onerror=" in steps[0].text
    assert "␣␛[31m Kim proved it." in steps[0].text
    assert "Probability 0.93, threshold 0.50: flagged." in steps[1].text
    assert "nats" in steps[1].text
    assert "honesty" in steps[2].text
    assert "Nobody has proved it." in steps[3].text
    assert "The text above: Revision 1." in steps[5].text
    assert browser.title == "conscience playground"
    assert not browser.find_elements("css selector", "#steps img, #steps script")
    one(browser, "#download").click()
    kept = wait(browser, lambda: list(folder.glob("outcome*.json")))[0]
    wait(browser, lambda: kept.read_text(encoding="utf-8").endswith("}"))
    outcome = json.loads(kept.read_text(encoding="utf-8"))
    assert (outcome["status"], outcome["response"]) == ("revised", "Nobody has proved it.")
    assert "Kim proved it." in outcome["draft"]["response"]
    assert browser.get_log("browser") == []


def test_slide_and_see_what_flips(browser: Any, address: str) -> None:
    """By keyboard alone: score, slide up and down, and back; the answer above flips too."""
    from selenium.webdriver.common.keys import Keys

    opened(browser, address)
    asked(browser, "Who proved it?")
    one(browser, "#score").send_keys(Keys.ENTER)
    wait(browser, lambda: one(browser, "#progress").text == "120 of 120 scored")
    summary = one(browser, "#summary").text
    assert summary.endswith("0 cases flip against 0.50.")
    assert "is flagged at this threshold" in one(browser, "#last").text
    slider = one(browser, "#threshold")
    slider.send_keys(Keys.END)
    assert one(browser, "#chosen").text == "1.0000"
    flipped = browser.find_elements("css selector", "#flipped tbody tr")
    assert len(flipped) == int(re.search(r"(\d+) cases? flips?", one(browser, "#summary").text)[1]) > 0  # type: ignore[index]
    assert all("flagged → passed" in row.text for row in flipped)
    assert "passes the gate" in one(browser, "#last").text
    slider.send_keys(Keys.HOME)
    assert all("passed → flagged" in row.text for row in browser.find_elements("css selector", "#flipped tbody tr"))
    assert one(browser, "#said").get_attribute("textContent") == one(browser, "#summary").text, "and it is said aloud"
    one(browser, "#reset").send_keys(Keys.ENTER)
    assert one(browser, "#summary").text == summary
    assert browser.get_log("browser") == []


def test_another_program_brings_its_own_fields(browser: Any, address: str) -> None:
    """Its input, constitution, pack and threshold."""
    from selenium.webdriver.support.select import Select

    opened(browser, address)
    Select(one(browser, "#program")).select_by_value("doctor")
    labels = [label.text for label in browser.find_elements("css selector", "#inputs label")]
    assert labels == ["symptoms"]
    assert one(browser, "#pack").get_attribute("value") == "medical"
    assert one(browser, "#chosen").text == "0.30"


def test_what_fails_is_said(browser: Any, address: str) -> None:
    """In an alert, in one line; the next question is answered."""
    opened(browser, address)
    assert asked(browser, "Fail") == "It failed."
    assert "model" in one(browser, "#trouble").text
    one(browser, "#input-0").clear()
    assert asked(browser, "Who proved it?").startswith("revised")
    assert one(browser, "#trouble").text == ""


def test_who_stops_gets_the_page_back(browser: Any, address: str) -> None:
    """At once, without an outcome."""
    opened(browser, address)
    one(browser, "#input-0").send_keys("Wait")
    one(browser, "#send").click()
    one(browser, "#stop").click()
    wait(browser, lambda: one(browser, "#status").text == "Stopped.")
    assert one(browser, "#send").is_enabled()
    assert not one(browser, "#download").is_enabled()


def test_the_key_is_asked_for(browser: Any) -> None:
    """Without the operator's there is nothing to see; it is in no address and no storage."""
    with served(Policy("ops", KEY, operator=True), Policy("shop", "customer-key")) as at:
        browser.get(at)
        wait(browser, lambda: one(browser, "#unlock").is_displayed())
        assert not one(browser, "#main").is_displayed()
        for key, said in (("wrong", "not known"), ("customer-key", "operator")):
            one(browser, "#key").send_keys(key, "\n")
            wait(browser, lambda said=said: said in one(browser, "#trouble").text)
            assert not one(browser, "#main").is_displayed()
        one(browser, "#key").send_keys(KEY, "\n")
        wait(browser, lambda: one(browser, "#main").is_displayed())
        assert asked(browser, "Who proved it?").startswith("revised")
        assert KEY not in browser.current_url
        assert browser.execute_script("return localStorage.length + sessionStorage.length") == 0
        assert KEY not in browser.page_source


CONTROLS = {"button", "combobox", "textbox", "slider", "checkbox", "link"}


def test_every_control_has_a_name_and_is_reached_by_tab(browser: Any, address: str) -> None:
    """As a screen reader and a keyboard find them, in the order of the page; what happens is announced."""
    from selenium.webdriver.common.keys import Keys

    opened(browser, address)
    asked(browser, "Who proved it?")
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"].lower() in CONTROLS]
    assert len(controls) >= 9
    assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")] == []
    named = {node["name"]["value"] for node in nodes if node["role"]["value"] == "image" and not node["ignored"]}
    assert "probability 0.93, threshold 0.50" in named
    browser.execute_script("document.getElementById('program').focus()")
    order = ["program"]
    for _ in range(7):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        order.append(browser.switch_to.active_element.get_attribute("id"))
    assert order == ["program", "input-0", "send", "download", "threshold", "reset", "pack", "score"]
    live = {e.get_attribute("id"): e.get_attribute("role") for e in browser.find_elements("css selector", "[role]")}
    assert (live["status"], live["said"], live["trouble"]) == ("status", "status", "alert")


def test_it_fits_a_narrow_screen(browser: Any, address: str) -> None:
    """320 pixels, which is also a wide one enlarged four times: nothing has to be scrolled sideways but the table."""
    narrow = {"width": 320, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    try:
        opened(browser, address)
        asked(browser, "Who proved it?")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 320
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def contrast(one: str, other: str) -> float:
    """By WCAG, of two colours as browsers write them."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_the_light_and_in_the_dark(browser: Any, address: str, scheme: str) -> None:
    """All text stands out from its ground by 4.5 to 1."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    opened(browser, address)
    asked(browser, "Who proved it?")
    pairs = browser.execute_script(
        """const ground = (node) => {
             for (; node; node = node.parentElement) {
               const colour = getComputedStyle(node).backgroundColor;
               if (!/, 0\\)$/.test(colour)) return colour;
             }
             return "rgb(255, 255, 255)";
           };
           return [...document.querySelectorAll("p, h1, h2, h3, label, dt, dd, button:enabled, blockquote")]
             .filter((node) => node.textContent.trim() && node.offsetParent)
             .map((node) => [node.textContent.slice(0, 40), getComputedStyle(node).color, ground(node)]);"""
    )
    assert len(pairs) > 20
    assert {ground for _, _, ground in pairs} >= {"rgb(255, 255, 255)" if scheme == "light" else "rgb(26, 33, 43)"}
    assert [(text, colour, ground) for text, colour, ground in pairs if contrast(colour, ground) < 4.5] == []
