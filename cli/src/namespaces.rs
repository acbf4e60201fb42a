//! `cachehouse namespaces`: how much of what there is.

use std::collections::HashMap;
use std::time::Duration;

use cache_house::Error;
use cache_house::operate::{Expiry, KeyKind, KeyReport, Page, Walk};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::arguments::{Common, Namespaces};
use crate::failure::Failure;
use crate::output::{self, count, one_line, size};
use crate::session::Session;

/// Namespaces that are counted apart; those that come later share one row.
const MOST_NAMESPACES: usize = 100_000;
const OTHERS: &str = "(others)";
/// Of values whose key has none.
const NONE: &str = "(none)";
/// How often a page is asked for that wasn't answered.
const ATTEMPTS: usize = 3;

/// What was counted.
#[derive(Default, Serialize)]
struct Report {
    /// Whether all keys were looked at; else all figures but `seen` are estimates, or lack what a server that failed didn't show.
    exact: bool,
    /// Keys that the servers named.
    seen: u64,
    namespaces: Vec<Row>,
    /// Keys of the cache's own.
    own: Own,
    servers: Vec<Server>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Own {
    leases: u64,
    tags: u64,
    near_caches: u64,
}

#[derive(Serialize)]
struct Row {
    namespace: String,
    #[serde(flatten)]
    tally: Tally,
}

#[derive(Serialize)]
struct Server {
    endpoint: String,
    /// All keys of the database, those of other programs included.
    total_keys: Option<u64>,
    error: Option<String>,
}

/// Numbers of keys, and their bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Tally {
    keys: u64,
    bytes: u64,
    /// By how long they live on.
    within_minute: u64,
    within_hour: u64,
    within_day: u64,
    later: u64,
    never: u64,
}

pub(crate) async fn run(common: &Common, arguments: &Namespaces) -> Result<(), Failure> {
    let session = Session::open(common).await?;
    let counted = count_all(&session, arguments).await;
    session.close().await;
    let report = counted?;
    if common.json {
        output::print_json(&report)?
    } else {
        output::print(&text(&report, arguments.limit))?
    }
    let failed: Vec<_> = report.servers.iter().filter_map(Server::problem).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::finding(format!("what is shown lacks keys\n\n{}", failed.join("\n"))))
    }
}

async fn count_all(session: &Session, arguments: &Namespaces) -> Result<Report, Failure> {
    let walks = match arguments.exact {
        true => session.operator.walks().await?,
        false => session.operator.samples().await?,
    };
    let enough = if arguments.exact { u64::MAX } else { arguments.sample };
    let bar = progress(&walks, enough);
    let (mut report, mut namespaces) = (Report { exact: true, ..Report::default() }, HashMap::new());
    for mut walk in walks {
        let mut one = OneServer::default();
        let error = one.walk(&mut walk, enough, &bar).await.err().map(|error| error.to_string());
        report.exact &= one.is_whole;
        report.seen += one.seen;
        // What a server that failed didn't show isn't estimated.
        one.add_to(&mut report, &mut namespaces, walk.total().filter(|_| error.is_none()));
        report.servers.push(Server { endpoint: walk.endpoint(), total_keys: walk.total(), error });
    }
    bar.finish_and_clear();
    report.namespaces = namespaces.into_iter().map(|(namespace, tally)| Row { namespace, tally }).collect();
    let by_bytes = |one: &Row, other: &Row| other.tally.bytes.cmp(&one.tally.bytes);
    report.namespaces.sort_by(|one, other| by_bytes(one, other).then_with(|| one.namespace.cmp(&other.namespace)));
    Ok(report)
}

/// Drawn on stderr, and only if that is a terminal.
fn progress(walks: &[Walk], enough: u64) -> ProgressBar {
    let length = walks.iter().map(|walk| walk.total().map(|total| total.min(enough))).sum::<Option<u64>>();
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    let template = match length {
        Some(_) => "{bar:40} {human_pos} of at most {human_len} keys, {elapsed}",
        None => "{spinner} {human_pos} keys, {elapsed}",
    };
    ProgressStyle::with_template(template).map_or(bar.clone(), |style| bar.with_style(style))
}

/// What one server has, as far as it was looked at.
#[derive(Default)]
struct OneServer {
    seen: u64,
    is_whole: bool,
    namespaces: HashMap<String, Tally>,
    own: Own,
}

impl OneServer {
    async fn walk(&mut self, walk: &mut Walk, enough: u64, bar: &ProgressBar) -> Result<(), Error> {
        while self.seen < enough {
            let Some(page) = next_page(walk).await? else {
                self.is_whole = true;
                return Ok(());
            };
            self.seen += page.seen;
            bar.inc(page.seen);
            page.keys.iter().for_each(|key| self.add(key));
        }
        Ok(())
    }

    fn add(&mut self, key: &KeyReport) {
        match &key.kind {
            KeyKind::Lease { .. } => self.own.leases += 1,
            KeyKind::Tag { .. } => self.own.tags += 1,
            KeyKind::NearCache => self.own.near_caches += 1,
            KeyKind::Value { namespace } => {
                row(&mut self.namespaces, namespace.as_deref().unwrap_or(NONE)).add_key(key);
            }
            _ => {}
        }
    }

    /// Adds what all keys of the server would show, where `total` says how many those are.
    fn add_to(self, report: &mut Report, namespaces: &mut HashMap<String, Tally>, total: Option<u64>) {
        let factor = match total {
            Some(total) if !self.is_whole && self.seen > 0 => (total as f64 / self.seen as f64).max(1.0),
            _ => 1.0,
        };
        for (namespace, tally) in &self.namespaces {
            row(namespaces, namespace).add(tally, factor);
        }
        report.own.leases += scaled(self.own.leases, factor);
        report.own.tags += scaled(self.own.tags, factor);
        report.own.near_caches += scaled(self.own.near_caches, factor);
    }
}

/// One answer that is late, of many, is no reason to begin again.
async fn next_page(walk: &mut Walk) -> Result<Option<Page>, Error> {
    let mut attempt = 1;
    loop {
        match walk.next_page().await {
            Err(error) if error.is_unavailable() && attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                attempt += 1;
            }
            page => return page,
        }
    }
}

fn scaled(number: u64, factor: f64) -> u64 {
    (number as f64 * factor).round() as u64
}

fn row<'a>(namespaces: &'a mut HashMap<String, Tally>, namespace: &str) -> &'a mut Tally {
    let is_one_too_many = namespaces.len() >= MOST_NAMESPACES && !namespaces.contains_key(namespace);
    namespaces.entry(if is_one_too_many { OTHERS } else { namespace }.to_owned()).or_default()
}

impl Tally {
    fn add_key(&mut self, key: &KeyReport) {
        self.keys += 1;
        self.bytes += key.key.len() as u64 + key.bytes.unwrap_or_default();
        let lives = match key.expiry {
            Expiry::In(left) if left < Duration::from_secs(60) => &mut self.within_minute,
            Expiry::In(left) if left < Duration::from_secs(3_600) => &mut self.within_hour,
            Expiry::In(left) if left < Duration::from_secs(86_400) => &mut self.within_day,
            Expiry::In(_) => &mut self.later,
            _ => &mut self.never,
        };
        *lives += 1;
    }

    fn add(&mut self, other: &Self, factor: f64) {
        for (own, other) in self.all().into_iter().zip(other.clone().all()) {
            *own += scaled(*other, factor);
        }
    }

    fn all(&mut self) -> [&mut u64; 7] {
        let Self { keys, bytes, within_minute, within_hour, within_day, later, never } = self;
        [keys, bytes, within_minute, within_hour, within_day, later, never]
    }
}

impl Server {
    fn problem(&self) -> Option<String> {
        Some(format!("{}: {}", self.endpoint, self.error.as_ref()?))
    }
}

fn text(report: &Report, limit: usize) -> String {
    let about = if report.exact { "" } else { "~" };
    let number = |number: u64| if number == 0 { "-".to_owned() } else { format!("{about}{}", count(number)) };
    let rows = report.namespaces.iter().take(limit).map(|Row { namespace, tally }| {
        let mean = if tally.keys > 0 { size(tally.bytes as f64 / tally.keys as f64) } else { "-".to_owned() };
        let bytes = format!("{about}{}", size(tally.bytes as f64));
        let lives = [tally.within_minute, tally.within_hour, tally.within_day, tally.later, tally.never].map(number);
        [vec![namespace.clone(), number(tally.keys), bytes, mean], lives.to_vec()].concat()
    });
    let head = ["namespace", "keys", "bytes", "mean", "< 1m", "< 1h", "< 1d", "later", "never"];
    let mut lines = vec![output::table(&head, rows.collect(), 1), String::new()];
    if report.namespaces.len() > limit {
        lines.push(format!("and {} more namespaces: --limit shows them", report.namespaces.len() - limit));
    }
    let Own { leases, tags, near_caches } = report.own;
    let own =
        [("leases", leases), ("tags", tags), ("near caches", near_caches)].into_iter().filter(|(_, keys)| *keys > 0);
    let own: Vec<_> = own.map(|(name, keys)| format!("{name} {}", number(keys))).collect();
    if !own.is_empty() {
        lines.push(format!("and keys of the cache's own: {}", own.join(", ")));
    }
    let totals = report.servers.iter().map(|server| server.total_keys).sum::<Option<u64>>();
    let seen = count(report.seen);
    let failed = report.servers.iter().filter(|server| server.error.is_some()).count();
    lines.push(match (report.exact, totals) {
        (true, _) => "all keys were looked at".to_owned(),
        _ if failed > 0 => {
            format!("{seen} keys were looked at: {failed} of {} servers failed before the end", report.servers.len())
        }
        (false, Some(total)) => {
            format!("estimated from {seen} of {} keys: --exact looks at all", count(total))
        }
        (false, None) => format!("of the first {seen} keys alone: how many there are the user may not ask (INFO)"),
    });
    let servers = report.servers.iter().map(|server| one_line(&server.endpoint)).collect::<Vec<_>>();
    lines.push(format!("on {}", servers.join(", ")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(keys: u64) -> Tally {
        Tally { keys, bytes: keys * 10, later: keys, ..Tally::default() }
    }

    fn counted(one: OneServer, total: Option<u64>) -> Option<Tally> {
        let mut namespaces = HashMap::new();
        one.add_to(&mut Report::default(), &mut namespaces, total);
        namespaces.remove("a")
    }

    #[test]
    fn a_sample_stands_for_all_keys_and_a_whole_walk_for_itself() {
        let one = |is_whole| {
            let namespaces = HashMap::from([("a".to_owned(), tally(10))]);
            OneServer { seen: 40, is_whole, namespaces, ..OneServer::default() }
        };
        assert_eq!(counted(one(false), Some(400)), Some(tally(100)));
        assert_eq!(counted(one(true), Some(400)), Some(tally(10)));
        assert_eq!(counted(one(false), None), Some(tally(10)));
        // Keys that went meanwhile.
        assert_eq!(counted(one(false), Some(30)), Some(tally(10)));
    }

    #[test]
    fn what_was_looked_at_is_said() {
        let server = |total_keys, error: Option<&str>| Server {
            endpoint: "r:1".into(),
            total_keys,
            error: error.map(str::to_owned),
        };
        let whole = || server(Some(400), None);
        let said = |exact, servers| {
            let text = text(&Report { exact, seen: 40, servers, ..Report::default() }, 50);
            text.lines().rev().nth(1).map(str::to_owned)
        };
        for (exact, servers, expected) in [
            (true, vec![whole()], "all keys were looked at"),
            (false, vec![whole(), whole()], "estimated from 40 of 800 keys: --exact looks at all"),
            (
                false,
                vec![server(None, None)],
                "of the first 40 keys alone: how many there are the user may not ask (INFO)",
            ),
            (
                false,
                vec![whole(), server(Some(400), Some("NOPERM"))],
                "40 keys were looked at: 1 of 2 servers failed before the end",
            ),
            (false, vec![server(None, Some("gone"))], "40 keys were looked at: 1 of 1 servers failed before the end"),
        ] {
            assert_eq!(said(exact, servers).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_namespace_for_each_user_takes_a_bounded_room() {
        let mut namespaces = HashMap::new();
        for number in 0..MOST_NAMESPACES + 10 {
            row(&mut namespaces, &number.to_string()).keys += 1;
        }
        assert_eq!(namespaces.len(), MOST_NAMESPACES + 1);
        assert_eq!(namespaces[OTHERS].keys, 10);
    }
}
