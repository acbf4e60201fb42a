//! Spans around work and server operations, as a subscriber sees them that asks for them.

use std::sync::{Arc, Mutex};

use cache_house::CacheOptions;
use tracing::field::{Field, Visit};
use tracing::span::Attributes;
use tracing::subscriber::with_default;
use tracing::{Id, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, registry};

use crate::support::{Server, connect, connected, current_thread, standalone};

const TARGET: &str = "cache_house::spans";

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// Collects spans with their parents and fields, as `parent > name field=value`.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == TARGET
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }

        let span = context.span(id).expect("it's new");
        assert_eq!((*span.metadata().level(), span.metadata().target()), (Level::TRACE, TARGET));
        let mut fields = Fields(String::new());
        attributes.record(&mut fields);
        let parent = span.parent().map(|parent| format!("{} > ", parent.name())).unwrap_or_default();
        self.0.lock().expect("no holder panics").push(format!("{parent}{}{}", span.name(), fields.0));
    }
}

/// The spans of what runs inside.
fn spans_of(run: impl FnOnce()) -> Vec<String> {
    let spans = Spans::default();
    with_default(registry().with(spans.clone()), run);
    std::mem::take(&mut spans.0.lock().expect("no holder panics"))
}

#[test]
fn work_and_server_operations_are_spans_that_name_the_call_and_nothing_of_its_arguments() {
    let server = Server::start();
    let cache = connected(&server);
    let secret = || call("secret").arg("hunter2");
    let runtime = current_thread();
    let missed = spans_of(|| {
        assert_eq!(runtime.block_on(cache.cached_async(secret(), async || 1)), 1);
    });
    let expected = [
        "cache_house.server op=\"get\"",
        "cache_house.server op=\"lease\"",
        "cache_house.work call=\"secret\"",
        "cache_house.server op=\"set\"",
    ];
    assert_eq!(missed, expected);
    assert_eq!(spans_of(|| assert_eq!(cache.cached(secret(), || 2), 1)), ["cache_house.server op=\"get\""]);
    assert_eq!(spans_of(|| _ = cache.remove(secret())), ["cache_house.server op=\"remove\""]);
}

#[test]
fn what_work_does_is_inside_its_span() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).fence(false));
    let inner = cache.clone();
    let nested = spans_of(|| {
        let outer = call("outer");
        assert_eq!(cache.cached(outer, || inner.cached(call("inner"), || 1)), 1);
    });
    let inside: Vec<_> = nested.iter().filter(|span| span.starts_with("cache_house.work > ")).collect();
    let expected = ["op=\"get\"", "call=\"inner\""];
    assert!(expected.iter().all(|field| inside.iter().any(|span| span.contains(field))), "{nested:?}");
}
