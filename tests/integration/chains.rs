//! Chains that compile, and do what they say.

mod batches_of_any_closures;
mod cluster_options_in_any_order;
mod decisions_in_any_order;
mod handles_are_shared_freely;
mod options_behind_a_function;
mod options_in_any_order;
mod work_that_borrows_and_stays_on_its_thread;
mod work_that_can_be_spawned;
