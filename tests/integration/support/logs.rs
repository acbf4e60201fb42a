//! What the crate tells through `tracing`, of all tests of the process.

use std::fmt::{Debug, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// One event: its level, and its message and fields in one text.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// Collects from now on. For the whole process, because much is told by I/O threads, which a thread's own subscriber
/// doesn't see; so filter by what only one's own test says.
pub(crate) fn capture() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let subscriber = tracing_subscriber::registry().with(Collect);
        tracing::subscriber::set_global_default(subscriber).expect("this is the only one");
    });
}

/// The lines so far whose text contains `part`.
pub(crate) fn containing(part: &str) -> Vec<Line> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| line.text.contains(part)).cloned().collect()
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

struct Collect;

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        // What other crates tell of their inner life is of no interest, but for what an operator would be shown.
        if metadata.target() != "cache_house" && *metadata.level() > Level::INFO {
            return;
        }
        let mut text = Text(metadata.target().to_owned());
        event.record(&mut text);
        let line = Line { level: *metadata.level(), text: text.0 };
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a `String` can't fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
