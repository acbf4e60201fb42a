//! The live screen.

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::figures::Figures;
use super::http::Target;
use super::{Look, look};
use crate::failure::Failure;
use crate::output;

/// How often keys are looked for.
const TICK: Duration = Duration::from_millis(100);

/// What is on the screen.
struct Shown {
    title: String,
    /// None until there were two looks.
    figures: Option<Figures>,
    /// Why the last look failed; the figures are those of the one before.
    problem: Option<String>,
}

/// Shows the figures until the operator ends it.
pub(super) fn run(target: &Target, interval: Duration) -> Result<(), Failure> {
    // Before the screen is taken over, so that a wrong URL is an ordinary error.
    let mut before = look(target)?;
    let title = format!("cachehouse top  {target}  every {}", output::time(interval));
    let mut shown = Shown { title, figures: None, problem: None };
    let looks = follow(target.clone(), interval);
    let mut terminal = ratatui::try_init()?;
    let ended = loop {
        if let Err(error) = terminal.draw(|frame| draw(frame, &shown)) {
            break Err(error);
        }
        match is_over() {
            Ok(false) => {}
            ended => break ended.map(drop),
        }
        for looked in looks.try_iter() {
            match looked {
                Ok(now) => {
                    shown.figures = Some(Figures::between(&before, &now));
                    shown.problem = None;
                    before = now;
                }
                Err(problem) => shown.problem = Some(problem),
            }
        }
    };
    output::unless_unread(ended.and(ratatui::try_restore()))
}

/// Looks on a thread of its own, so that a service that hangs doesn't hold up the keys. It waits for each look to be taken.
fn follow(target: Target, interval: Duration) -> Receiver<Result<Look, String>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        loop {
            thread::sleep(interval);
            let looked = look(&target).map_err(|failure| failure.to_string());
            if sender.send(looked).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for a key for a moment.
fn is_over() -> std::io::Result<bool> {
    if !event::poll(TICK)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else { return Ok(false) };
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    Ok(key.kind == KeyEventKind::Press && (interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)))
}

fn draw(frame: &mut Frame<'_>, shown: &Shown) {
    let facts = facts(shown);
    let height = u16::try_from(facts.len()).unwrap_or(u16::MAX);
    let parts = [
        Constraint::Length(2),
        Constraint::Length(height.saturating_add(1)),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [title, summary, table, foot] = Layout::vertical(parts).areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(Line::styled(shown.title.clone(), bold)), title);
    frame.render_widget(Paragraph::new(facts), summary);
    if let Some(figures) = &shown.figures {
        let widths = [Constraint::Min(16)].into_iter().chain([Constraint::Length(11); 6]);
        let cell = |(at, text): (usize, String)| {
            let line = Line::from(text);
            Cell::from(if at == 0 { line } else { line.right_aligned() })
        };
        let row = |texts: [String; 7]| Row::new(texts.into_iter().enumerate().map(cell));
        let head = row(figures.head().map(str::to_owned)).style(bold);
        frame.render_widget(Table::new(figures.rows().into_iter().map(row), widths).header(head), table);
    }
    frame.render_widget(Paragraph::new("q: end"), foot);
}

fn facts(shown: &Shown) -> Vec<Line<'static>> {
    let red =
        if output::may_colour() { Style::new().fg(Color::Red) } else { Style::new().add_modifier(Modifier::REVERSED) };
    let mut lines = Vec::new();
    if let Some(problem) = &shown.problem {
        lines.push(Line::styled(output::one_line(problem), red));
    }
    match &shown.figures {
        None => lines.push(Line::from("the first figures come with the second look")),
        Some(figures) => lines.extend(figures.facts().into_iter().map(|(name, text, wants_eye)| {
            let style = if wants_eye { red } else { Style::new() };
            Line::from(vec![Span::raw(format!("{name:13} ")), Span::styled(text, style)])
        })),
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::prometheus::Samples;
    use super::*;

    fn drawn(shown: &Shown) -> String {
        let mut terminal = Terminal::new(TestBackend::new(90, 14)).expect("it has no terminal to fail");
        terminal.draw(|frame| draw(frame, shown)).expect("it has no terminal to fail");
        let lines: Vec<_> =
            terminal.backend().to_string().lines().map(|line| line.trim_matches('"').trim_end().to_owned()).collect();
        lines.join("\n")
    }

    #[test]
    fn the_screen_shows_the_figures_and_what_went_wrong() {
        let text = |hits: u32| {
            format!(
                "cachehouse_circuit_state{{endpoint=\"r:1\"}} 2\ncachehouse_evictions_total {hits}\n\
                 cachehouse_requests_total{{namespace=\"users\",result=\"hit\",tier=\"memory\"}} {hits}\n\
                 cachehouse_requests_total{{namespace=\"a\u{1b}[2J\",result=\"miss\",tier=\"none\"}} 8\n"
            )
        };
        let begin = Instant::now();
        let look =
            |hits, seconds| Look { at: begin + Duration::from_secs(seconds), samples: Samples::parse(&text(hits)) };
        let figures = Some(Figures::between(&look(10, 0), &look(40, 2)));
        let mut shown = Shown { title: "cachehouse top".into(), figures, problem: None };
        insta::assert_snapshot!(drawn(&shown));
        shown.problem = Some("no answer within 5s".into());
        assert!(drawn(&shown).contains("no answer within 5s"));
    }
}
