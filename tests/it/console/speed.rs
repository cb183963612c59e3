//! Tests that the first screen appears fast and takes few bytes, and that an open page takes no more memory after a day
//! than after an hour.

use serde_json::{Value, json};

use super::browser::Browser;
use super::walker::Walk;

/// The number of page loads; the test compares the median time with the limit.
const LOADS: usize = 9;
/// The longest time from the last byte of the first screen until its boxes are painted.
const PAINTED_MS: f64 = 100.0;
/// The maximum number of bytes that the first screen may take on the wire, with the heads of the HTTP answers.
const FIRST_SCREEN_BYTES: f64 = 80_000.0;
const PATCHES_PER_HOUR: u32 = 7_200;
const HOURS: u32 = 24;
/// The maximum number of bytes by which the page's heap may differ between the first hour and the last. The heap of a
/// page that kept seven bytes of each patch would differ by more.
const HEAP_GROWS_BYTES: f64 = 1_048_576.0;
/// The maximum number of nodes by which the page's document may differ between the first hour and the last.
const NODES_GROW: f64 = 200.0;

/// A script that notes when bytes of the stream came, and when the boxes of the pipeline were painted. The script runs
/// before the scripts of the page.
const WATCH: &str = "
    window.first = { byte: 0, painted: 0, bytes: 0 };
    const pipe = ReadableStream.prototype.pipeThrough;
    ReadableStream.prototype.pipeThrough = function (through, options) {
        const noted = pipe.call(this, new TransformStream({ transform(chunk, out) {
            if (!first.painted) { first.byte = performance.now(); first.bytes += chunk.byteLength ?? chunk.length; }
            out.enqueue(chunk);
        } }));
        return pipe.call(noted, through, options);
    };
    const seen = new MutationObserver(() => {
        const boxes = [...document.querySelectorAll('.pipe .figure')];
        if (boxes.length < 6 || !boxes.every((box) => box.textContent)) return;
        seen.disconnect();
        requestAnimationFrame(() => {
            const after = new MessageChannel();
            after.port1.onmessage = () => { first.painted = performance.now(); };
            after.port2.postMessage(0);
        });
    });
    seen.observe(document, { subtree: true, childList: true, characterData: true });";

/// A script that returns the time from the last byte until the boxes were painted, and the total number of bytes.
const MEASURED: &str = "
    const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
    const ends = all.map((one) => one.responseEnd).filter((end) => end > 0 && end <= first.painted);
    return [first.painted - Math.max(first.byte, ...ends), all.reduce((sum, one) => sum + one.transferSize, 0) + first.bytes];";

#[test]
fn the_first_screen_is_painted_soon_after_its_last_byte_and_is_small() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.visit("", "adds up");
    browser.command("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": WATCH }));
    browser.command("Network.enable", &json!({}));
    browser.command("Network.setCacheDisabled", &json!({ "cacheDisabled": true }));
    let mut times = Vec::new();
    let mut sizes = Vec::new();
    for _ in 0..LOADS {
        browser.go(&walk.url(""));
        browser.until("window.first?.painted");
        let measured = browser.run(MEASURED);
        times.push(measured[0].as_f64().unwrap());
        sizes.push(measured[1].as_f64().unwrap());
    }
    times.sort_by(f64::total_cmp);
    sizes.sort_by(f64::total_cmp);
    let (time, size) = (times[LOADS / 2], sizes[LOADS / 2]);
    eprintln!("the first screen: {time:.0} ms after its last byte, {size:.0} bytes; all times {times:.0?}");
    assert!(time > 0.0 && time < PAINTED_MS, "{times:.0?} ms");
    assert!(size > 0.0 && size < FIRST_SCREEN_BYTES, "{sizes:.0?} bytes");
}

/// A script that gives the page a stream of the test in place of the node's stream. The script runs before the scripts
/// of the page.
const STAND_IN: &str = "
    const ask = window.fetch;
    window.fetch = (path, options) => {
        if (!String(path).endsWith('/overview/stream')) return ask(path, options);
        const body = new ReadableStream({ start(stream) {
            window.say = (name, data) => stream.enqueue(new TextEncoder().encode(`event: ${name}\\ndata: ${data}\\n\\n`));
            options.signal.addEventListener('abort', () => stream.error(new DOMException('gone', 'AbortError')));
        } });
        return Promise.resolve(new Response(body));
    };";

/// A script that sends an hour of patches, as fast as the page takes them. The page draws up to 72 times for an hour of
/// patches.
const HOUR: &str = "
    return (async () => {
        const frame = () => new Promise((done) => requestAnimationFrame(done));
        for (let at = 1; at <= PATCHES; at += 1) {
            const now = window.whole;
            now.now_ms += 500;
            now.commits += 3;
            now.uptime_s = Math.floor(now.now_ms / 1000);
            for (const name of Object.keys(now.gauges)) now.gauges[name] = Math.round(Math.random() * 1e6) / 1e3;
            const patch = { now_ms: now.now_ms, commits: now.commits, uptime_s: now.uptime_s, gauges: now.gauges };
            patch.stages = now.stages.map((one) => ({ ...one, figure: `${one.stage} ${at % 1000} records/s` }));
            patch.topics = now.topics.map((one) => ({ ...one, consumed: one.consumed + at, applied: one.applied + at }));
            if (at % 10 === 0) patch.memory = now.memory.map((one) => ({ ...one, bytes: one.bytes + at }));
            if (at % 50 === 0) patch.findings = at % 100 ? now.findings : [];
            window.say('patch', JSON.stringify(patch));
            if (at % 100 === 0) await frame();
        }
        await frame();
        await frame();
        return document.querySelectorAll('.pipe li').length;
    })();";

/// Returns what the page keeps after a garbage collection: bytes of its heap, nodes, listeners, and points of the
/// plots.
fn kept(browser: &Browser) -> [f64; 4] {
    for _ in 0..3 {
        browser.command("HeapProfiler.collectGarbage", &json!({}));
    }
    let told = browser.command("Performance.getMetrics", &json!({}));
    let metric = |name: &str| {
        let metrics = told["metrics"].as_array().unwrap();
        metrics.iter().find(|one| one["name"] == name).unwrap()["value"].as_f64().unwrap()
    };
    let points = "import(document.querySelector('script[type=module]').src.replace('app.js', 'live.js'))\
                  .then(({ live }) => Object.values(live.history.gauges).reduce((sum, list) => sum + list.length, 0))";
    let parameters = json!({ "expression": points, "awaitPromise": true, "returnByValue": true });
    let points = browser.command("Runtime.evaluate", &parameters)["result"]["value"].as_f64().unwrap();
    [metric("JSHeapUsedSize"), metric("Nodes"), metric("JSEventListeners"), points]
}

#[test]
fn a_page_that_is_open_for_a_day_takes_no_more_memory_than_after_an_hour() {
    let Some(walk) = Walk::begin() else { return };
    let browser = &walk.browser;
    walk.visit("", "adds up");
    browser.command("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": STAND_IN }));
    browser.command("Performance.enable", &json!({}));
    browser.go(&walk.url(""));
    browser.until("window.say");
    let begin = "return fetch('/api/v1/overview').then((answer) => answer.json()).then((whole) => {
        window.whole = whole;
        window.say('snapshot', JSON.stringify(whole));
        return whole.stages.length; })";
    assert_eq!(browser.run(begin), Value::from(6));
    browser.shows("adds up");
    let hour = HOUR.replace("PATCHES", &PATCHES_PER_HOUR.to_string());
    let mut after = Vec::new();
    for _ in 0..HOURS {
        assert_eq!(browser.run(&hour), Value::from(6));
        after.push(kept(browser));
    }
    let ([heap, nodes, listeners, points], [last_heap, last_nodes, last_listeners, last_points]) =
        (after[0], after[HOURS as usize - 1]);
    let heaps: Vec<_> = after.iter().map(|[heap, ..]| (heap / 1_024.0).round()).collect();
    eprintln!("the page's heap after each hour, KiB: {heaps:?}");
    assert!(last_heap - heap < HEAP_GROWS_BYTES, "KiB after each hour: {heaps:?}");
    assert!(last_nodes - nodes < NODES_GROW, "{nodes} nodes after an hour, {last_nodes} after a day");
    assert_eq!((last_listeners, last_points), (listeners, points), "listeners and points");
    walk.is_clean();
}
