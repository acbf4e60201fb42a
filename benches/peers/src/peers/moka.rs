//! `moka`: the asynchronous cache.

use moka::future::Cache;

use super::{CAPACITY, EXPIRE};
use crate::origin::load;
use crate::peer::{Failure, Peer};
use crate::user::User;

pub(super) fn in_memory() -> Cache<u64, User> {
    Cache::builder().max_capacity(CAPACITY).time_to_live(EXPIRE).build()
}

impl Peer for Cache<u64, User> {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(self.get_with(id, load(id)).await)
    }
}
