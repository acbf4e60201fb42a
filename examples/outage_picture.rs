//! Draws what calls see while their server is killed and frozen: `docs/outage.svg`.
//!
//! ```sh
//! cargo run --release --example outage_picture [FILE [SECONDS]]
//! ```
//!
//! Starts a `redis-server` of its own, keeps sixteen callers busy, and each `SECONDS` (2 by default) does one thing: kills the
//! server, starts it again without data, freezes it, thaws it. Every 100 ms it notes what served the calls, the slowest call and
//! the length of the journal. Then it writes the picture to `FILE`, `docs/outage.svg` by default.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

#[path = "../tests/integration/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, Stats, opts};
use rand::Rng;
use support::Server;

const KEYS: usize = 300;
const CALLERS: usize = 16;
const STEP: Duration = Duration::from_millis(100);
/// What begins after each phase but the last, and whether the server is away then.
const EVENTS: [(&str, bool); 4] =
    [("killed", true), ("started again, empty", false), ("frozen", true), ("thawed", false)];

/// What happened in one step.
#[derive(Default)]
struct Sample {
    server: u64,
    memory: u64,
    computed: u64,
    slowest_micros: u64,
    journal: u64,
}

impl Sample {
    fn calls(&self) -> u64 {
        self.server + self.memory + self.computed
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = arguments.first().map_or("docs/outage.svg", String::as_str);
    let seconds: f64 = arguments.get(1).map_or(Ok(2.0), |seconds| seconds.parse())?;
    let steps_a_phase = (seconds / STEP.as_secs_f64()).round().max(1.0) as usize;

    let server = Arc::new(Server::start());
    let runtime = tokio::runtime::Runtime::new()?;
    let cache = runtime.block_on(async { CacheHouse::builder().standalone(server.endpoint()).build() })?;
    cache.ready_blocking(Duration::from_secs(5));
    for key in 0..KEYS {
        cache.cached(options(key), || key);
    }

    let slowest = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    for _ in 0..CALLERS {
        runtime.spawn(call(cache.clone(), Arc::clone(&slowest), Arc::clone(&over)));
    }
    runtime.spawn(invalidate(cache.clone(), Arc::clone(&over)));
    thread::sleep(Duration::from_millis(300));

    let samples = observe(&cache, &server, &slowest, steps_a_phase);
    over.store(true, Ordering::Relaxed);
    cache.close();
    for (phase, samples) in samples.chunks(steps_a_phase).enumerate() {
        println!("{}", summary(phase, samples));
    }
    std::fs::write(file, picture(&samples, steps_a_phase))?;
    println!("wrote {file}");
    Ok(())
}

fn options(key: usize) -> CacheOptions {
    opts!("square", key).expire(Duration::from_secs(600))
}

/// Calls one key after another, two milliseconds apart. The work takes five.
async fn call(cache: CacheHandle, slowest: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let key = rand::thread_rng().gen_range(0..KEYS);
        let begin = Instant::now();
        let work = || async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            key
        };
        cache.cached_async(options(key), work).await;
        let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        slowest.fetch_max(micros, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Removes a key every 20 ms. In an outage that is journalled, and no error.
async fn invalidate(cache: CacheHandle, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let key = rand::thread_rng().gen_range(0..KEYS);
        let removed = cache.remove_async(options(key)).await;
        assert!(removed.is_ok(), "an outage isn't an error: {removed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A sample a step, and an event a phase.
fn observe(cache: &CacheHandle, server: &Arc<Server>, slowest: &AtomicU64, steps_a_phase: usize) -> Vec<Sample> {
    let begin = Instant::now();
    let mut before = cache.stats();
    let mut samples = Vec::new();
    let mut last_event: Option<thread::JoinHandle<()>> = None;
    for step in 0..steps_a_phase * (EVENTS.len() + 1) {
        if step > 0 && step % steps_a_phase == 0 {
            let server = Arc::clone(server);
            let event = step / steps_a_phase - 1;
            let before = last_event.take();
            // Beside the clock of the samples, because starting a server takes a while; one after the other.
            last_event = Some(thread::spawn(move || {
                until_over(before);
                match event {
                    0 => server.kill(),
                    1 => server.restart(),
                    2 => server.freeze(),
                    _ => server.thaw(),
                }
            }));
        }
        let end = begin + STEP * (step as u32 + 1);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let now = cache.stats();
        samples.push(sample(&before, &now, slowest.swap(0, Ordering::Relaxed)));
        before = now;
    }
    // The server ends with its last owner.
    until_over(last_event);
    samples
}

/// An event that panicked shows in the picture as one that didn't happen.
fn until_over(event: Option<thread::JoinHandle<()>>) {
    if let Some(event) = event {
        let _ = event.join();
    }
}

fn sample(before: &Stats, now: &Stats, slowest_micros: u64) -> Sample {
    Sample {
        server: now.server_hits - before.server_hits,
        memory: now.memory_hits - before.memory_hits,
        // Calls that shared a run or a lookup are few here; they belong to what they waited for.
        computed: now.runs - before.runs,
        slowest_micros,
        journal: now.journal_length,
    }
}

fn summary(phase: usize, samples: &[Sample]) -> String {
    let name = if phase == 0 { "connected" } else { EVENTS[phase - 1].0 };
    let sum = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>();
    let slowest = samples.iter().map(|sample| sample.slowest_micros).max().unwrap_or(0);
    format!(
        "{name:>20}: {:>6} from the server, {:>6} from memory, {:>5} computed, slowest {:.1?}",
        sum(|sample| sample.server),
        sum(|sample| sample.memory),
        sum(|sample| sample.computed),
        Duration::from_micros(slowest)
    )
}

const LEFT: f64 = 80.0;
const WIDTH: f64 = 740.0;
const COLOURS: [(&str, &str); 3] =
    [("from the server", "#2b6cb0"), ("from memory", "#dd8a2b"), ("computed", "#6b7280")];

/// A panel of the picture: its top, its height, and what its top means.
struct Panel {
    title: &'static str,
    top: f64,
    height: f64,
    most: f64,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }

    fn frame(&self, labels: &[(f64, String)]) -> String {
        let mut svg =
            format!("<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>\n", self.top - 8.0, self.title);
        for (value, label) in labels {
            let y = self.y(*value);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}h{WIDTH}\" stroke=\"#d1d5db\"/>");
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 8.0, y + 4.0);
        }
        svg
    }
}

fn picture(samples: &[Sample], steps_a_phase: usize) -> String {
    let step = WIDTH / samples.len() as f64;
    let x = |at: usize| LEFT + step * at as f64;
    let a_second = |calls: u64| calls as f64 / STEP.as_secs_f64();
    let most_calls = samples.iter().map(Sample::calls).max().unwrap_or(0).max(1);
    let most_journal = samples.iter().map(|sample| sample.journal).max().unwrap_or(0).max(1) as f64;
    let calls =
        Panel { title: "calls a second, by what served them", top: 70.0, height: 150.0, most: a_second(most_calls) };
    let slowest = Panel { title: "slowest call, ms", top: 270.0, height: 70.0, most: 300.0 };
    let journal = Panel { title: "invalidations in the journal", top: 390.0, height: 60.0, most: most_journal };

    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 500\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#111827\">\n\
         <title>Calls while the server is killed, started again, frozen and thawed</title>\n\
         <rect width=\"860\" height=\"500\" fill=\"#ffffff\"/>\n",
    );
    for (phase, (event, is_away)) in (1..).zip(EVENTS) {
        let at = x(phase * steps_a_phase);
        if is_away {
            let width = step * steps_a_phase as f64;
            let _ =
                writeln!(svg, "<rect x=\"{at:.1}\" y=\"56\" width=\"{width:.1}\" height=\"394\" fill=\"#fdecea\"/>");
        }
        let _ = writeln!(svg, "<path d=\"M{at:.1} 40v410\" stroke=\"#9ca3af\" stroke-dasharray=\"3 3\"/>");
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"36\">{event}</text>", at - 4.0);
    }
    for (at, (name, colour)) in COLOURS.iter().enumerate() {
        let left = 460.0 + 130.0 * at as f64;
        let _ = writeln!(svg, "<rect x=\"{left}\" y=\"8\" width=\"10\" height=\"10\" fill=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"17\">{name}</text>", left + 15.0);
    }

    let rounded = (calls.most / 2_000.0).floor().max(0.5) * 1_000.0;
    svg += &calls.frame(&[
        (0.0, "0".into()),
        (rounded, format!("{rounded:.0}")),
        (2.0 * rounded, format!("{:.0}", 2.0 * rounded)),
    ]);
    let mut stacks = [const { String::new() }; 3];
    for (at, sample) in samples.iter().enumerate() {
        let mut below = 0;
        for (stack, count) in stacks.iter_mut().zip([sample.server, sample.memory, sample.computed]) {
            let (bottom, top) = (calls.y(a_second(below)), calls.y(a_second(below + count)));
            if count > 0 {
                let _ = write!(stack, "M{:.1} {bottom:.1}V{top:.1}h{:.1}V{bottom:.1}z", x(at), step - 0.5);
            }
            below += count;
        }
    }
    for (stack, (_, colour)) in stacks.iter().zip(COLOURS) {
        let _ = writeln!(svg, "<path fill=\"{colour}\" d=\"{stack}\"/>");
    }

    svg += &slowest.frame(&[(0.0, "0".into()), (250.0, "250".into())]);
    svg += &line(samples, |sample| sample.slowest_micros as f64 / 1_000.0, &slowest, x);
    svg += &journal.frame(&[(0.0, "0".into()), (most_journal, format!("{most_journal:.0}"))]);
    svg += &line(samples, |sample| sample.journal as f64, &journal, x);

    let seconds = samples.len() as f64 * STEP.as_secs_f64();
    for second in 0..=seconds as usize {
        let at = LEFT + WIDTH * second as f64 / seconds;
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"470\" text-anchor=\"middle\">{second} s</text>");
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"490\">{KEYS} keys, {CALLERS} callers, a removal every 20 ms; command_timeout 250 ms</text>"
    );
    svg + "</svg>\n"
}

/// One value a step, as a line of steps.
fn line(samples: &[Sample], of: impl Fn(&Sample) -> f64, panel: &Panel, x: impl Fn(usize) -> f64) -> String {
    let mut path = String::new();
    for (at, sample) in samples.iter().enumerate() {
        let begin = if at == 0 { 'M' } else { 'L' };
        let y = panel.y(of(sample));
        let _ = write!(path, "{begin}{:.1} {y:.1}H{:.1}", x(at), x(at + 1));
    }
    format!("<path d=\"{path}\" fill=\"none\" stroke=\"#111827\" stroke-width=\"1.5\"/>\n")
}
