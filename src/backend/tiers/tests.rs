use super::reads::{Copied, keep_copy};
use super::*;
use crate::backend::memory::MemoryLimits;
use crate::clock::Clock;
use crate::key::{CallParts, Scope};

struct Open;
struct Unfenced;

impl Fence for Open {
    type Storing = Unfenced;
    type Watch = ();

    fn commit(&self, keep: impl FnOnce() -> Evicted) {
        drop(keep());
    }

    fn begin_store(&self) -> Option<Unfenced> {
        Some(Unfenced)
    }

    fn watch(&self) {}
}

impl UnderWay for Unfenced {
    fn end(&mut self, _: &Result<Stored, ServerError>) {}
}

#[test]
fn a_copy_keeps_nothing_of_the_buffer_that_the_reply_came_in() {
    let limits = MemoryLimits { max_entries: 10, max_bytes: 64 << 20 };
    let memory = Memory::new(limits, Clock::default());
    let scope = Scope::new("p", "n").expect("both parts are given");
    let parts = CallParts { module: None, name: b"f", args: b"", kwargs: &[], version: 0, tokens: &[] };
    let key = CallKey::new(&parts, &scope, None, &foldhash::quality::FixedState::default()).expect("it has a key");
    let buffer = Bytes::from(vec![7; 4 << 20]);
    for len in [1, 16 * 1024 - 1, 16 * 1024, 1 << 20, buffer.len()] {
        let reply = buffer.slice(..len);
        let ttl = Some((memory.now(), Duration::from_secs(60)));
        let copy = Copied { server_key: &key.server_key(), bytes: &reply, decoded: len as u64, mark: None };
        keep_copy(&memory, &key, &Open, copy, ttl);
        assert_eq!(memory.find(&key).and_then(|entry| entry.bytes().cloned()), Some(reply));
        assert!(buffer.is_unique(), "{len} bytes of it are kept");
    }
}
