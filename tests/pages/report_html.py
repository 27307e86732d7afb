#!/usr/bin/env python3
"""`report.html` in a real browser: it loads without a network, says nothing on the console, steps by keys, and stays usable.

    python3 tests/pages/report_html.py [--shots DIR] [FILE…]

Without a FILE it keeps a run of its own (`cargo sim run scenarios/smoke/kill-loses-nothing.toml --keep`). Needs Chromium
(`apt-get install chromium`) and nothing beyond Python's standard library: it speaks the DevTools protocol over a pipe. What cannot
be tested is a failure, never a pass.
"""

import argparse
import base64
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
SCENARIO = "scenarios/smoke/kill-loses-nothing.toml"
# What the design promises of a run of 100,000 events.
BIG_EVENTS = 100_000
BIG_BYTES_MAX = 10_000_000
BIG_LOAD_SECONDS_MAX = 8.0
BIG_STEP_SECONDS_MAX = 0.25


class Failed(Exception):
    """Something is not as it must be."""


def check(holds, what):
    if not holds:
        raise Failed(what)


class Browser:
    """A headless Chromium, driven over a pipe."""

    def __init__(self):
        program = next((found for name in NAMES if (found := shutil.which(name))), None)
        check(program, f"no browser: none of {', '.join(NAMES)} is installed; `apt-get install chromium` has one")
        self.profile = tempfile.TemporaryDirectory(prefix="report-html-")
        (ours_in, theirs_out), (theirs_in, ours_out) = os.pipe(), os.pipe()
        # Away from 3 and 4, where the browser wants its ends.
        far = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
                   f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen([program, *options], preexec_fn=lambda: [os.dup2(end, place) for place, end in enumerate(far, 3)],
                                        pass_fds=(3, 4), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for end in (theirs_in, theirs_out, *far):
            os.close(end)
        self.sends, self.hears = os.fdopen(ours_out, "wb", buffering=0), os.fdopen(ours_in, "rb", buffering=0)
        self.rest, self.number, self.session, self.heard = b"", 0, None, []

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.profile.cleanup()

    def read(self):
        while b"\0" not in self.rest:
            more = self.hears.read(1 << 16)
            check(more, "the browser went away")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.sends.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                check("error" not in answer, f"{method}: {answer.get('error')}")
                return answer["result"]
            self.heard.append(answer)

    def open(self, path, width, height, dark=False):
        """A page of its own, without a network, whose console is listened to."""
        self.session, self.heard = None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        begun = time.monotonic()
        self.call("Page.navigate", url=pathlib.Path(path).resolve().as_uri())
        while not self.ask("document.readyState === 'complete' && document.title !== '' && typeof page === 'object' && page.rows !== undefined"):
            check(time.monotonic() - begun < 60, f"{path}: not drawn after 60 s: {self.complaints()}")
            time.sleep(0.02)
        return time.monotonic() - begun

    def ask(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        check("exceptionDetails" not in answer, f"{expression}: {answer.get('exceptionDetails')}")
        return answer["result"].get("value")

    def settle(self):
        """Until the next two frames are drawn."""
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def press(self, key, text=None):
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Escape": 27, "Enter": 13, "Tab": 9}
        code = codes.get(key, ord(key.upper()) if len(key) == 1 and key.isalnum() else 0)
        text = text if text is not None else (key if len(key) == 1 else None)
        down = {"type": "keyDown" if text else "rawKeyDown", "key": key, "windowsVirtualKeyCode": code}
        if text:
            down["text"] = text
        self.call("Input.dispatchKeyEvent", **down)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def click(self, x, y):
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def shoot(self, path):
        height = self.ask("document.documentElement.scrollHeight")
        width = self.ask("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(image))

    def complaints(self):
        """What the page asked of the network or said on the console."""
        self.ask("1")  # what was sent before is heard before
        found = []
        for message in self.heard:
            method, what = message.get("method"), message.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(f"exception: {json.dumps(what['exceptionDetails'])[:400]}")
            elif method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
                found.append(f"console: {what['args']}")
            elif method == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
                found.append(f"log: {what['entry']['text']}")
            elif method == "Network.requestWillBeSent" and not what["request"]["url"].startswith(("file:", "data:", "about:")):
                found.append(f"network: {what['request']['url']}")
        return found


NOW = "Number(document.getElementById('stage').getAttribute('aria-valuenow'))"


def steps_by_keys(browser, path):
    browser.open(path, 1280, 900)
    browser.ask("document.getElementById('partition').value = -1; document.getElementById('partition').dispatchEvent(new Event('input')); document.getElementById('stage').focus()")
    count = browser.ask("eventCount")
    check(count > 100, f"only {count} events")
    browser.press("Home")
    check(browser.ask(NOW) == browser.ask("page.chosen[0]"), "Home is not the first event")
    seen = [browser.ask(NOW)]
    for _ in range(3):
        browser.press("ArrowRight")
        seen.append(browser.ask(NOW))
    check(seen == browser.ask("Array.from(page.chosen.slice(0, 4))"), f"→ does not step by event: {seen}")
    browser.press("ArrowLeft")
    check(browser.ask(NOW) == seen[2], "← is not one back")
    browser.press("ArrowDown")
    check(browser.ask(f"isTurn({NOW})"), "↓ is not a turn")
    browser.press("End")
    check(browser.ask(NOW) == count - 1, "End is not the last event")
    check(browser.ask("document.querySelector('#rows .chosen') !== null"), "the list does not show the chosen event")
    words = browser.ask("document.getElementById('stage').getAttribute('aria-valuetext')")
    check(re.match(r"\d+\.\d{3}s ", words), f"no words for who cannot see the cursor: {words}")
    check(browser.ask("document.getElementById('live').textContent") == words, "the step is not announced")


def filters(browser, path):
    browser.open(path, 1280, 900)
    browser.press("0")
    browser.press("/")
    check(browser.ask("document.activeElement.id") == "search", "/ does not lead to the search")
    for letter in "node.started":
        browser.press(letter)
    kinds = browser.ask("Array.from(new Set(Array.from(page.chosen, kindOf)))")
    check(kinds and all("node.started" in kind for kind in kinds), f"the search leaves {kinds}")
    browser.press("Enter")
    check(browser.ask(f"kindOf({NOW})") == "node.started", "Enter does not lead to what was found")
    browser.press("Escape")
    check(browser.ask("page.filter.words === '' && document.activeElement.id === 'stage'"), "Esc does not leave the search")
    browser.press("t")
    check(browser.ask("page.chosen.length > 0 && Array.from(page.chosen).every(isTurn)"), "t does not leave turns only")
    browser.press("t")
    browser.press("p")
    check(browser.ask("page.filter.partition !== -1 && Array.from(page.chosen).every((event) => [page.filter.partition, -1].includes(events.partition[event]))"), "p does not leave one partition")
    browser.press("?")
    check(browser.ask("document.getElementById('help').open"), "? does not open the help")
    browser.press("Escape")
    check(not browser.ask("document.getElementById('help').open"), "Esc does not close the help")


def moves(browser, path):
    browser.open(path, 1280, 900)
    browser.press("0")
    browser.settle()
    box = browser.ask("(({left, top, width, height}) => ({left, top, width, height}))(document.getElementById('lanes').getBoundingClientRect())")
    before = browser.ask(NOW)
    browser.click(box["left"] + box["width"] * 0.6, box["top"] + 60)
    after = browser.ask(NOW)
    check(after != before, "a click does not move the cursor")
    near = browser.ask(f"events.at[{after}] / END")
    check(0.4 < near < 0.7, f"a click at 60 % of the page leads to {near:.0%} of the run")
    browser.press("+")
    browser.settle()
    check(browser.ask("page.view.until - page.view.from < END * 0.6"), "+ does not come closer")
    browser.press("0")
    check(browser.ask("page.view.from === 0 && page.view.until === END"), "0 does not show the whole run")
    reached = set()
    for _ in range(30):
        browser.press("Tab")
        reached.add(browser.ask("document.activeElement.id"))
    missing = {"first", "search", "partition", "node", "stage", "list"} - reached
    check(not missing, f"Tab does not lead to {missing}")
    nameless = browser.ask("Array.from(document.querySelectorAll('button, input, select')).filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).map((one) => one.id)")
    check(not nameless, f"without a name: {nameless}")


def looks(browser, path, shots, name):
    """Drawn in both schemes and at both widths; nothing wider than the window."""
    papers = set()
    for width in (1280, 800):
        for dark in (False, True):
            browser.open(path, width, 900, dark)
            browser.settle()
            colours = browser.ask("(() => { const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; const seen = new Set(); for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]); return seen.size; })()")
            check(colours > 12, f"the timeline has {colours} colours at {width} px: nothing is drawn")
            wide = browser.ask("document.documentElement.scrollWidth")
            check(wide <= width, f"{wide} px wide in a window of {width}")
            papers.add(browser.ask("getComputedStyle(document.body).backgroundColor"))
            if shots:
                browser.shoot(pathlib.Path(shots) / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    check(len(papers) == 2, f"light and dark look the same: {papers}")


def data_of(text):
    head, rest = text.split('<script type="application/json" id="data">', 1)
    data, tail = rest.split("</script>", 1)
    return head, json.loads(data), tail


def with_data(text, change):
    head, data, tail = data_of(text)
    change(data)
    return head + '<script type="application/json" id="data">' + json.dumps(data).replace("<", "\\u003c") + "</script>" + tail


def make_red(data):
    """The same run as if a check had found something at its middle, with words that would end a script."""
    at, middle = 0, len(data["events"]["at"]) // 2
    for step in data["events"]["at"][: middle + 1]:
        at += step
    one = {"check": "R4", "claim": "What is below the high watermark is the same on every replica.", "at": at, "lane": 0, "node": "broker 1",
           "partition": 0, "what": "</script><b>offset 17 differs</b>", "evidence": ["broker 1: a", "broker 2: b"],
           "code": ["src/replica/leader.rs: try_advance"],
           "slice": [[middle - 40, middle - 40], [middle - 4, middle]]}
    data["verdict"], data["violations"], data["violationsInAll"] = "FAILED", [one, {**one, "check": "lost-write", "slice": []}], 2


def red(browser, path):
    browser.open(path, 1280, 900)
    wrong = browser.ask("document.getElementById('wrong').hidden ? '' : document.getElementById('wrong').innerText")
    for words in ["R4 is broken at", "claim", "What is below the high watermark", "</script><b>offset 17 differs</b>", "broker 2: b", "code", "src/replica/leader.rs: try_advance", "lost-write × 1", "How it came to it"]:
        check(words in wrong, f"what went wrong does not say `{words}`: {wrong}")
    pinned = browser.ask("eventOf(first)")
    check(browser.ask(NOW) == pinned, "the page does not begin at what went wrong")
    browser.press("0")
    browser.press("Home")
    browser.press("v")
    check(browser.ask(NOW) == pinned and browser.ask("first.at > page.view.from && first.at < page.view.until"), "v does not lead there")
    browser.ask("document.querySelector('#wrong li button').click()")
    check(browser.ask(NOW) == browser.ask("first.slice[0][0]"), "a line of the slice does not lead to its event")


def make_big(data):
    """The run's events over and over until there are a hundred thousand."""
    events = data["events"]
    count = len(events["at"])
    times = -(-BIG_EVENTS // count)
    span = sum(events["at"])
    for name, column in events.items():
        if name != "note":
            events[name] = (column * times)[:BIG_EVENTS]
    # As in a real run many notes are their own.
    data["notes"] = [f"broker {number % 3 + 1} from offset {number}" for number in range(BIG_EVENTS // 3)]
    events["note"] = [place % len(data["notes"]) if place % 3 else -1 for place in range(BIG_EVENTS)]
    data["end"] = data["runFor"] = span * times
    for replica in data["replicas"]:
        for curve in (replica["end"], replica["hw"]):
            curve["at"], curve["is"] = curve["at"] * times, curve["is"] * times


def big(browser, path):
    size = os.path.getsize(path)
    check(size < BIG_BYTES_MAX, f"{BIG_EVENTS} events make {size} bytes")
    took = browser.open(path, 1280, 900)
    check(took < BIG_LOAD_SECONDS_MAX, f"{BIG_EVENTS} events are drawn after {took:.1f} s")
    browser.press("Home")
    begun = time.monotonic()
    for _ in range(20):
        browser.press("ArrowRight")
        browser.settle()
    step = (time.monotonic() - begun) / 20
    check(browser.ask(NOW) == browser.ask("page.chosen[20]"), "the steps did not arrive")
    check(step < BIG_STEP_SECONDS_MAX, f"a step among {BIG_EVENTS} events takes {step:.3f} s")
    rows = browser.ask("document.getElementById('rows').childElementCount")
    check(rows < 100, f"{rows} rows are in the page at once")
    print(f"     {BIG_EVENTS} events: {size / 1e6:.1f} MB, drawn after {took:.1f} s, {step * 1000:.0f} ms a step")


def kept_run(out):
    """A run of its own; its page."""
    command = ["cargo", "sim", "run", SCENARIO, "--seed", "1", "--keep", "--quiet", "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(pathlib.Path(out).rglob("report.html"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", help="report.html of kept runs, without anything that went wrong")
    parser.add_argument("--shots", help="a directory for pictures of each page, to be looked at")
    arguments = parser.parse_args()
    if arguments.shots:
        os.makedirs(arguments.shots, exist_ok=True)
    failures = 0
    with tempfile.TemporaryDirectory(prefix="report-html-") as scratch:
        files = [pathlib.Path(file) for file in arguments.files] or [kept_run(pathlib.Path(scratch) / "runs")]
        text = files[0].read_text()
        made = {"red": make_red, "big": make_big}
        for name, change in made.items():
            (pathlib.Path(scratch) / f"{name}.html").write_text(with_data(text, change))
        red_page, big_page = (pathlib.Path(scratch) / f"{name}.html" for name in made)
        tests = [(f"{test.__name__} {file.parent.name}", test, (file,)) for file in files for test in (steps_by_keys, filters, moves)]
        tests += [(f"looks {number}", looks, (file, arguments.shots, f"page-{number}")) for number, file in enumerate(files)]
        tests += [("red", red, (red_page,)), ("looks red", looks, (red_page, arguments.shots, "red")), ("big", big, (big_page,))]
        browser = Browser()
        try:
            for name, test, given in tests:
                try:
                    test(browser, *given)
                    complaints = browser.complaints()
                    check(not complaints, f"the page complains: {complaints}")
                    print(f"ok   {name}")
                except Failed as failed:
                    failures += 1
                    print(f"FAIL {name}: {failed}")
        finally:
            browser.close()
    print(f"{len(tests)} tests, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        print(f"FAIL {failed}")
        sys.exit(1)
