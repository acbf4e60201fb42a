//! Which thread runs next: a schedule is known by its scenario and its number, so the same number makes the same schedule again.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::surroundings;

/// How many schedules of a scenario are explored, unless `CACHEHOUSE_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 100_000;

/// Steps after which a schedule is taken for one that never ends; the longest take a twentieth of it.
const MOST_STEPS: usize = 100_000;

std::thread_local! {
    /// The main thread rests until no other can run.
    static RESTS: Cell<bool> = const { Cell::new(false) };
    /// No other could run when it was chosen.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    static HURRIES: Cell<bool> = const { Cell::new(false) };
    static SCHEDULE: Cell<u64> = const { Cell::new(0) };
    static STEPS: Cell<u64> = const { Cell::new(0) };
    /// Over all steps of [`Manner::Even`], the logarithm of how many threads could run.
    static CHOICES: Cell<f64> = const { Cell::new(0.0) };
}

/// Has the other threads run until all of them wait, which is what it says, or until time [hurries](hurry). Only the main thread calls it;
/// without, it goes on before all others.
pub(super) fn rest() -> bool {
    RESTS.set(true);
    shuttle::thread::yield_now();
    RESTS.set(false);
    IS_QUIET.get()
}

/// From here on time passes also while threads run: they are slow.
pub(super) fn hurry() {
    HURRIES.set(true);
}

/// Runs a scenario under as many schedules as are wanted, or under the one of `CACHEHOUSE_SCHEDULE`.
pub(super) fn explore(name: &str, scenario: fn()) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it's a number"));
    let schedules = match number("CACHEHOUSE_SCHEDULE") {
        Some(one) => one..one + 1,
        None => 0..number("CACHEHOUSE_SCHEDULES").unwrap_or(SCHEDULES),
    };
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.silence_warnings = true;
    let (begun, count) = (Instant::now(), schedules.end - schedules.start);
    let walk =
        Walk { schedules, random: Random(0), manner: Manner::Even, first: Vec::new(), changes: [0; 2], steps: 0 };
    STEPS.set(0);
    CHOICES.set(0.0);
    let explored = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(walk, config).run(move || {
            surroundings::begin();
            RESTS.set(false);
            HURRIES.set(false);
            scenario();
        })
    }));
    if let Err(failure) = explored {
        let failed = SCHEDULE.get();
        eprintln!("{name}: schedule {failed} has failed; CACHEHOUSE_SCHEDULE={failed} runs it alone");
        resume_unwind(failure);
    }
    // Of a tree, the product of the choices on a random way down is as large on average as the tree has leaves (Knuth 1975). The mean of
    // its logarithm is a lower bound.
    let (steps, leaves) = (STEPS.get() / count.max(1), CHOICES.get() / (count.div_ceil(3)).max(1) as f64);
    let took = begun.elapsed().as_secs_f64();
    println!("{name}: {count} schedules of {steps} steps each, of at least 10^{leaves:.0}, in {took:.1} s");
}

/// A third of the schedules each.
enum Manner {
    /// At each step each thread is as likely.
    Even,
    /// A thread goes on for about eight steps.
    Sticky,
    /// The first in a random order that can run does, but for two steps at which it becomes the last: what takes few changes of threads
    /// is found soonest so (Burckhardt and others, ASPLOS 2010).
    Ordered,
}

struct Walk {
    schedules: std::ops::Range<u64>,
    random: Random,
    manner: Manner,
    /// The threads in their order.
    first: Vec<TaskId>,
    changes: [u64; 2],
    steps: u64,
}

/// Steps among which [`Manner::Ordered`] chooses its changes.
const ORDERED_STEPS: u64 = 400;

impl Scheduler for Walk {
    fn new_execution(&mut self) -> Option<Schedule> {
        let number = self.schedules.next()?;
        SCHEDULE.set(number);
        self.random = Random(Random(number).next());
        self.manner = match number % 3 {
            0 => Manner::Even,
            1 => Manner::Sticky,
            _ => Manner::Ordered,
        };
        self.first.clear();
        self.changes = [self.random.below(ORDERED_STEPS), self.random.below(ORDERED_STEPS)];
        self.steps = 0;
        Some(Schedule::new(number))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, _: bool) -> Option<TaskId> {
        STEPS.set(STEPS.get() + 1);
        let main = TaskId::from(0);
        // Those that aren't runnable could be woken for nothing, which would hide a wake that's missing.
        let mut ready = [main; 32];
        let mut count = 0;
        for task in runnable.iter().filter(|task| task.runnable()) {
            if task.id() == main {
                if !RESTS.get() {
                    return Some(main);
                }
            } else {
                ready[count] = task.id();
                count += 1;
            }
        }
        let ready = &ready[..count];
        IS_QUIET.set(ready.is_empty());
        // Main rests where it's among the runnable.
        if ready.is_empty()
            || HURRIES.get() && self.random.below(64) == 0 && runnable.iter().any(|task| task.id() == main)
        {
            return Some(main);
        }
        self.steps += 1;
        let goes_on = current.filter(|current| ready.contains(current));
        Some(match self.manner {
            Manner::Even => {
                CHOICES.set(CHOICES.get() + (count as f64).log10());
                ready[self.random.below(count as u64) as usize]
            }
            Manner::Sticky => match goes_on {
                Some(current) if self.random.below(8) != 0 => current,
                _ => ready[self.random.below(count as u64) as usize],
            },
            Manner::Ordered => {
                for task in ready {
                    if !self.first.contains(task) {
                        let place = self.random.below(self.first.len() as u64 + 1) as usize;
                        self.first.insert(place, *task);
                    }
                }
                let chosen = |first: &[TaskId]| first.iter().position(|task| ready.contains(task)).unwrap_or(0);
                let mut place = chosen(&self.first);
                if self.changes.contains(&self.steps) {
                    let last = self.first.remove(place);
                    self.first.push(last);
                    place = chosen(&self.first);
                }
                self.first[place]
            }
        })
    }

    fn next_u64(&mut self) -> u64 {
        self.random.next()
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
