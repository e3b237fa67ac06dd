//! `label`: findings of reports, and whether sentences affirm or deny a concept.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{ArgGroup, Args, ValueEnum};
use data::label::files::{LabelledRow, ReportColumns, SentenceColumns, label_reports, label_sentences};
use data::label::score::{Counts, Part, Score, StatusScore};
use data::label::{FindingSet, Labeler, Mention, Status, rules};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

/// How long a command runs before it shows a bar.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true).args(["reports", "sentences", "print_rules"]))]
pub(super) struct LabelArgs {
    /// CSV with one report a row.
    #[arg(long, value_name = "CSV")]
    reports: Option<PathBuf>,
    /// CSV with one sentence and one concept a row.
    #[arg(long, value_name = "CSV")]
    sentences: Option<PathBuf>,
    /// Writes the rules of this program into a folder, to be edited and used with --rules.
    #[arg(long, value_name = "DIR")]
    print_rules: Option<PathBuf>,
    /// Columns with the text of a report, separated by commas: sections, or one whole report.
    #[arg(long, value_delimiter = ',', default_value = "findings,impression")]
    columns: Vec<String>,
    /// Column that names a report [default: report_id, else the number of the row]; with --sentences the column whose
    /// values --score-part divides [default: `report_no`].
    #[arg(long)]
    id: Option<String>,
    /// Findings that get a column.
    #[arg(long, value_enum, default_value_t = Findings::Chexpert14)]
    findings: Findings,
    /// Column with the sentence.
    #[arg(long, default_value = "sentence")]
    text: String,
    /// Column with the concept.
    #[arg(long, default_value = "concept")]
    concept: String,
    /// CSV to write.
    #[arg(long, value_name = "CSV")]
    out: Option<PathBuf>,
    /// Folder with edited rules; files that it lacks are those of this program.
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Makes Lung Opacity and Enlarged Cardiomediastinum positive where a finding below them is.
    #[arg(long)]
    hierarchy: bool,
    /// Prints the reports with the phrases that were found, in colours on a terminal.
    #[arg(long, conflicts_with_all = ["sentences", "json"])]
    explain: bool,
    /// Compares with the labels in the CSV itself: columns named as the findings, or `status`.
    #[arg(long)]
    score: bool,
    /// Rows that are compared: dev, on which the rules were written, test, or all.
    #[arg(long, value_enum, default_value_t = ScorePart::All, requires = "score")]
    score_part: ScorePart,
    /// Prints the score as JSON.
    #[arg(long, requires = "score")]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Findings {
    Chexpert14,
    Nih14,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScorePart {
    All,
    Dev,
    Test,
}

pub(super) fn run(args: &LabelArgs) -> Result<()> {
    if let Some(folder) = &args.print_rules {
        rules::write(folder)?;
        let names: Vec<&str> = rules::FILES.iter().map(|(name, _)| *name).collect();
        writeln!(std::io::stdout(), "{}: {}", folder.display(), names.join(", "))?;
        return Ok(());
    }
    if args.out.is_none() && !args.score && !args.explain {
        bail!("nothing to do: name a file with --out, or ask for --score or --explain");
    }
    let set = match args.findings {
        Findings::Chexpert14 => FindingSet::Chexpert14,
        Findings::Nih14 => FindingSet::Nih14,
    };
    let mut labeler = match &args.rules {
        Some(folder) => Labeler::load(folder, set)?,
        None => Labeler::builtin(set)?,
    };
    if args.hierarchy {
        labeler = labeler.with_hierarchy();
    }
    let part = args.score.then_some(match args.score_part {
        ScorePart::All => Part::All,
        ScorePart::Dev => Part::Dev,
        ScorePart::Test => Part::Test,
    });
    match (&args.reports, &args.sentences) {
        (Some(file), _) => reports(args, &labeler, file, part),
        (None, Some(file)) => sentences(args, &labeler, file, part),
        (None, None) => Ok(()),
    }
}

fn reports(args: &LabelArgs, labeler: &Labeler, file: &Path, part: Option<Part>) -> Result<()> {
    let columns = ReportColumns { texts: args.columns.clone(), id: args.id.clone() };
    let mut progress = Progress::new(file);
    let mut out = std::io::stdout().lock();
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let score = label_reports(labeler, file, &columns, args.out.as_deref(), part, |row| {
        progress.tick(row.number, row.bytes);
        if args.explain { explain(&mut out, labeler, row, colours) } else { Ok(()) }
    })?;
    progress.finish("reports")?;
    match part {
        Some(_) if args.json => writeln!(out, "{}", serde_json::to_string_pretty(&score_json(&score))?)?,
        Some(_) => print_score(&mut out, &score)?,
        None => {}
    }
    Ok(())
}

fn sentences(args: &LabelArgs, labeler: &Labeler, file: &Path, part: Option<Part>) -> Result<()> {
    let group = args.id.clone().unwrap_or_else(|| "report_no".to_owned());
    let columns = SentenceColumns { text: args.text.clone(), concept: args.concept.clone(), group };
    let mut progress = Progress::new(file);
    let score =
        label_sentences(labeler, file, &columns, args.out.as_deref(), part, |row, bytes| progress.tick(row, bytes))?;
    progress.finish("sentences")?;
    let mut out = std::io::stdout().lock();
    match part {
        Some(_) if args.json => writeln!(out, "{}", serde_json::to_string_pretty(&status_json(&score))?)?,
        Some(_) => super::print(&mut out, &status_rows(&score), "")?,
        None => {}
    }
    Ok(())
}

/// Counts rows, and shows a bar where it takes long.
struct Progress {
    start: Instant,
    rows: usize,
    bar: ProgressBar,
}

impl Progress {
    fn new(file: &Path) -> Self {
        let size = std::fs::metadata(file).map_or(0, |data| data.len());
        let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {msg}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { start: Instant::now(), rows: 0, bar }
    }

    fn tick(&mut self, row: usize, bytes: u64) {
        self.rows = row;
        if row.is_multiple_of(1024) && self.start.elapsed() > PATIENCE {
            if self.bar.is_hidden() {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            self.bar.set_message(format!("{:.0} a second", self.rate()));
            self.bar.set_position(bytes);
        }
    }

    fn rate(&self) -> f64 {
        self.rows as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    /// Tells the rate, which is that of one core.
    fn finish(&self, what: &str) -> std::io::Result<()> {
        let rate = self.rate();
        self.bar.finish_and_clear();
        writeln!(std::io::stderr(), "{} {what}, {rate:.0} a second on one core", self.rows)
    }
}

/// Prints a report with its mentions: `[Finding +: phrase]`, `-` where it is denied, `?` where it is open.
fn explain(out: &mut impl Write, labeler: &Labeler, row: &LabelledRow<'_>, colours: bool) -> std::io::Result<()> {
    writeln!(out, "row {}", row.number)?;
    for mentions in row.labels.mentions.chunk_by(|a, b| a.sentence == b.sentence) {
        write_sentence(out, labeler, row.text, mentions, colours)?;
    }
    writeln!(out)
}

fn write_sentence(
    out: &mut impl Write,
    labeler: &Labeler,
    text: &str,
    mentions: &[Mention],
    colours: bool,
) -> std::io::Result<()> {
    let Some(first) = mentions.first() else { return Ok(()) };
    let (sentence, mut marks) = (first.sentence.clone(), Vec::new());
    for mention in mentions {
        let (sign, colour) = match mention.status {
            Status::Positive => ('+', 31),
            Status::Negative => ('-', 32),
            Status::Uncertain => ('?', 33),
        };
        marks.push((mention.phrase.clone(), format!("{} {sign}", labeler.name(mention.finding)), colour));
        if let Some(cue) = &mention.cue {
            marks.push((cue.clone(), "cue".to_owned(), 36));
        }
    }
    marks.sort_by_key(|(span, name, _)| (span.start, span.end, name.clone()));
    marks.dedup();
    let mut at = sentence.start;
    write!(out, "  ")?;
    for (span, name, colour) in marks {
        if span.start < at {
            // Within a phrase that is marked already: its name alone.
            write!(out, "{{{name}}}")?;
            continue;
        }
        write!(out, "{}", plain(&text[at..span.start]))?;
        let inner = plain(&text[span.clone()]);
        if colours {
            write!(out, "\x1b[{colour}m{inner}\x1b[0m\x1b[2m{{{name}}}\x1b[0m")?;
        } else {
            write!(out, "[{inner}]{{{name}}}")?;
        }
        at = span.end;
    }
    writeln!(out, "{}", plain(&text[at..sentence.end]))
}

/// Text without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "positives": counts.positives(),
        "true_positives": counts.true_positives,
        "false_positives": counts.false_positives,
        "false_negatives": counts.false_negatives,
        "precision": counts.precision(),
        "recall": counts.recall(),
        "f1": counts.f1(),
    })
}

fn score_json(score: &Score) -> Value {
    let findings: serde_json::Map<String, Value> =
        score.findings.iter().map(|(name, counts)| (name.clone(), counts_json(counts))).collect();
    json!({
        "reports": score.rows,
        "findings": findings,
        "micro": counts_json(&score.micro()),
        "macro_f1": score.macro_f1(),
    })
}

fn print_score(out: &mut impl Write, score: &Score) -> std::io::Result<()> {
    let width = score.findings.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(8);
    writeln!(out, "{:<width$}    tp    fp    fn  precision  recall     f1", "finding")?;
    let micro = ("micro".to_owned(), score.micro());
    for (name, counts) in score.findings.iter().chain([&micro]) {
        writeln!(
            out,
            "{name:<width$} {:>5} {:>5} {:>5}  {:>9.3}  {:>6.3}  {:>5.3}",
            counts.true_positives,
            counts.false_positives,
            counts.false_negatives,
            counts.precision(),
            counts.recall(),
            counts.f1()
        )?;
    }
    writeln!(out, "{:<width$} {:>42.3}", "macro", score.macro_f1())?;
    writeln!(out, "{} reports; a label of 1 is positive, -1, 0 and none are not", score.rows)?;
    if score.findings.iter().any(|(_, counts)| counts.positives() == 0) {
        writeln!(out, "findings that are never given stay out of micro and macro")?;
    }
    Ok(())
}

fn status_json(score: &StatusScore) -> Value {
    json!({
        "sentences": score.rows,
        "accuracy": score.accuracy(),
        "negated": counts_json(&score.negated),
        "possible": score.possible,
        "without_concept": score.missing,
    })
}

/// As [`status_json`], with three digits.
fn status_rows(score: &StatusScore) -> Value {
    let short = |value: f64| format!("{value:.3}");
    json!({
        "sentences": score.rows,
        "accuracy": short(score.accuracy()),
        "precision_of_negated": short(score.negated.precision()),
        "recall_of_negated": short(score.negated.recall()),
        "f1_of_negated": short(score.negated.f1()),
        "possible": score.possible,
        "without_concept": score.missing,
    })
}
