//! What is logged.

use std::fmt;
use std::sync::{Arc, Mutex};

use http::Method;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::{Origin, Site, Time};

/// The messages of the cache's warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "cache_house" && *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Messages(self));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Messages<'a>(&'a Warnings);

impl Visit for Messages<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

#[tokio::test]
async fn removals_that_fail_are_one_warning_a_minute() {
    let (time, origin) = (Time::default(), Origin::of(200, &[("location", "/named")]));
    let cache = time.memory();
    let site = Site::new(&time.layer_over(cache.clone()), &origin);
    cache.close_async().await;
    let warnings = Warnings::default();
    let _logs = tracing::subscriber::set_default(warnings.clone());
    for _ in 0..3 {
        site.try_ask(Method::POST, "/", &[]).await.unwrap();
    }
    let messages = warnings.0.lock().unwrap();
    let count = messages.iter().filter(|message| message.contains("a stored response isn't removed")).count();
    assert_eq!(count, 1, "{messages:?}");
}
