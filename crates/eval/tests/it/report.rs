//! `roentgen-eval report`: what it shows, what it keeps to itself, and what a browser makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use data::fsx::write_atomic;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cli::{DATA, write_pairs, write_weights_locked};

/// A run whose configuration names a few phantoms, with what training and evaluation would have written.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_weights_locked(folder.path());
    write_pairs(folder.path());
    let run = folder.path().join("run");
    let config = "[run]\nseed = 1\nsteps = 20\n[data]\nbatch_size = 8\n[data.source]\nkind = \"phantom\"\nseed = 5\ntrain = 64\n\
                  validate = 64\ntest = 64\ncandidates_per_class = 4\nqueries_per_class = 1\nprobe = 64\n[objective]\nkind = \"convirt\"\n";
    write_atomic(&run.join("config.toml"), config.as_bytes()).unwrap();
    let line = |step: u32| {
        json!({"step": step, "train/loss": 3.0 - f64::from(step) / 20.0, "train/loss/infonce": 2.0}).to_string()
    };
    write_atomic(&run.join("metrics.jsonl"), (1..=20).map(|step| line(step) + "\n").collect::<String>().as_bytes())
        .unwrap();
    let figure = json!({"value": 0.625, "low": 0.5, "high": 0.75, "chance": 0.5});
    let figures = json!({"zero_shot": {"macro_auroc": figure, "per_class": {"edema": {"auroc": figure}}}, "timing": {"seconds": 90.0}});
    write_atomic(&run.join("eval.json"), figures.to_string().as_bytes()).unwrap();
    folder
}

fn program(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
    command.current_dir(folder).arg("report").args(arguments).args(["--ui", "plain"]).output().unwrap()
}

/// The report that a call writes.
fn written(folder: &Path, arguments: &[&str], file: &str) -> String {
    let output = program(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn a_run_is_shown_with_everything_that_it_can_do() {
    let folder = workplace();
    let output = program(folder.path(), &["run", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let html = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert_eq!(said, json!({"file": "run/report.html", "bytes": html.len()}));
    for id in [
        "overview",
        "curves",
        "figures",
        "scores",
        "calibration",
        "retrieval",
        "maps",
        "map",
        "data",
        "model",
        "configuration",
    ] {
        assert!(html.contains(&format!("<section id=\"{id}\">")), "no {id}");
    }
    // The same inputs give the same bytes.
    assert_eq!(html, written(folder.path(), &["run", "--out", "again.html"], "again.html"));
    for part in ["0.625", "[0.500, 0.750]", "1.5 min", "Zero-shot", "Linear probe", "pleural effusion"] {
        assert!(html.contains(part), "no {part}");
    }
    // Nothing in it is on another machine, and no report is quoted.
    assert!(!html.contains("://") && !html.contains("<script"));
    assert!(!html.contains('“'));
    let quoting = written(folder.path(), &["run", "--include-texts", "--out", "texts.html"], "texts.html");
    assert!(quoting.contains('“'));
    let pictures = |html: &str| html.matches("data:image/png").count();
    let with_images = written(folder.path(), &["run", "--include-images", "--out", "images.html"], "images.html");
    // Heat maps alone without images; each image that a query finds with them.
    assert!(
        pictures(&html) > 0 && pictures(&with_images) >= pictures(&html) + 8 * 4,
        "{} {}",
        pictures(&html),
        pictures(&with_images)
    );
    assert!(with_images.len() < 3 << 20);
    let short = written(folder.path(), &["run", "--figures-only", "--out", "short.html"], "short.html");
    assert!(short.contains("id=\"figures\"") && !short.contains("id=\"retrieval\""));
}

#[test]
fn nobody_is_named_where_the_data_are_of_patients() {
    let folder = workplace();
    let labels: Vec<&str> =
        data::source::phantom::CLASSES[1..].iter().flat_map(|class| ["--label-column", class]).collect();
    let html = written(folder.path(), &[&["run", "--out", "csv.html"], &DATA[..], &labels].concat(), "csv.html");
    assert!(html.contains("Drawn from") && html.contains("id=\"scores\""));
    let csv = fs::read_to_string(folder.path().join("pairs.csv")).unwrap();
    for line in csv.lines().skip(1) {
        let note = line.split('"').nth(1).unwrap();
        assert!(!html.contains(note), "a note is quoted");
        let picture = line.split(',').next().unwrap();
        assert!(!html.contains(picture), "{picture} is named");
    }
    for patient in 10..48 {
        assert!(!html.contains(&format!(">p{patient}<")), "p{patient} is named");
    }
}

#[test]
fn runs_are_compared_and_what_is_no_run_is_refused() {
    let folder = workplace();
    let copy = folder.path().join("other");
    fs::create_dir(&copy).unwrap();
    for name in ["config.toml", "metrics.jsonl", "eval.json", "model.safetensors", "card.toml"] {
        fs::copy(folder.path().join("run").join(name), copy.join(name)).unwrap();
    }
    let config = fs::read_to_string(copy.join("config.toml")).unwrap();
    write_atomic(&copy.join("config.toml"), config.replace("steps = 20", "steps = 25").as_bytes()).unwrap();
    let html = written(folder.path(), &["run", "other"], "run/comparison.html");
    for part in ["run.steps", "id=\"paired\"", "run minus other", "id=\"curves\""] {
        assert!(html.contains(part), "no {part}");
    }
    // The same weights differ by nothing.
    let paired = &html[html.find("id=\"paired\"").unwrap()..];
    assert!(paired.contains("[0.000, 0.000]"), "{}", &paired[..600]);
    for (arguments, says) in
        [(&["missing"][..], "missing"), (&["."], "config.toml"), (&["run", "--data", "none.csv"], "none.csv")]
    {
        let output = program(folder.path(), arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && message.contains("error: ") && message.contains(says),
            "{arguments:?}: {message}"
        );
        assert!(!message.contains("panicked"), "{message}");
    }
}

/// What a browser finds in a page that is shown in a frame of 400 pixels.
const MEASURE: &str = r#"<!DOCTYPE html><body style="margin:0"><iframe id="page" src="PAGE" style="width:400px;height:800px;border:0"></iframe>
<pre id="found"></pre><script>
const frame = document.getElementById("page");
frame.onload = () => {
  const page = frame.contentDocument;
  const drawn = [...page.querySelectorAll("figure svg")].map(svg => svg.getBoundingClientRect());
  const images = [...page.querySelectorAll("img")];
  document.getElementById("found").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    charts: drawn.length,
    empty: drawn.filter(box => box.width < 40 || box.height < 10).length,
    wide: drawn.filter(box => box.right > 401).length,
    images: images.length,
    broken: images.filter(image => !image.complete || image.naturalWidth == 0).length,
    fetched: frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 40)).filter(name => !name.startsWith("data:")),
    font: parseFloat(frame.contentWindow.getComputedStyle(page.body).fontSize),
  });
};
</script>"#;

/// A Chromium of this machine.
fn chromium() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&paths).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}

fn browse(browser: &Path, home: &Path, arguments: &[String]) -> String {
    let mut command = Command::new(browser);
    // As root, as in containers, it starts only without its own sandbox.
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--disable-dev-shm-usage",
    ]);
    command.arg(format!("--user-data-dir={}", home.display())).arg("--virtual-time-budget=8000").args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_browser_draws_everything_and_fetches_nothing() {
    let Some(browser) = chromium() else {
        println!("skipped: no chromium in PATH (Debian's package chromium)");
        return;
    };
    let folder = workplace();
    written(folder.path(), &["run", "--include-images"], "run/report.html");
    let page = folder.path().join("run/report.html");
    let measure = folder.path().join("measure.html");
    write_atomic(&measure, MEASURE.replace("PAGE", "run/report.html").as_bytes()).unwrap();
    let home = folder.path().join("browser");
    let dom = browse(&browser, &home, &["--dump-dom".to_owned(), format!("file://{}", measure.display())]);
    let (_, found) = dom.split_once("<pre id=\"found\">").unwrap();
    let found: Value = serde_json::from_str(found.split_once("</pre>").unwrap().0).unwrap_or_else(|_| panic!("{dom}"));
    assert!(found["charts"].as_u64().unwrap() >= 8 && found["empty"] == 0, "{found}");
    assert!(found["images"].as_u64().unwrap() >= 32 && found["broken"] == 0, "{found}");
    assert_eq!(found["fetched"], json!([]), "{found}");
    // Nothing sticks out at 400 pixels; tables scroll within themselves.
    assert!(found["width"].as_u64().unwrap() <= 400 && found["wide"] == 0, "{found}");
    assert!(found["font"].as_f64().unwrap() >= 14.0, "{found}");
    // A picture of it has more than one colour: it is not blank.
    let picture = folder.path().join("shot.png");
    let arguments = [
        format!("--screenshot={}", picture.display()),
        "--window-size=1000,1600".to_owned(),
        format!("file://{}", page.display()),
    ];
    browse(&browser, &home, &arguments);
    let shot = data::image::decode::decode_file(&picture).unwrap();
    let mut shades = [0_u32; 256];
    shot.pixels.iter().for_each(|&pixel| shades[usize::from(pixel)] += 1);
    assert!(shades.iter().filter(|&&count| count > 50).count() > 20, "the page is nearly blank");
}
