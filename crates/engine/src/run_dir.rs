//! The folder of a run: where everything that a run writes lies.
//!
//! ```text
//! config.toml          the resolved configuration
//! env.json             versions, device and build of the program (no paths)
//! log.jsonl            messages, one JSON object a line
//! metrics.jsonl        numbers, one JSON object for each logged step
//! tb/                  the same numbers for TensorBoard
//! checkpoints/         saved states
//! model.safetensors    the final weights
//! eval.json            the final figures
//! ```
//!
//! Only its owner can read the folder: configurations and logs tell where data lies.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use data::error::DataError;
use data::fsx;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result, RunDirProblem};

/// The release of Burn that this crate is built on; the workspace pins it.
const BURN_VERSION: &str = "0.22.1";
/// How many numbered names are tried for a run without `--out`.
const MAX_NUMBERED: usize = 10_000;

/// Hidden, so that a folder that holds nothing else counts as empty.
const LOCK: &str = ".lock";
const CONFIG: &str = "config.toml";
const MODEL: &str = "model.safetensors";
const EVAL: &str = "eval.json";

/// What a run depends on besides its configuration; the content of `env.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this project.
    pub version: String,
    /// Version of Burn.
    pub burn: String,
    /// Commit of the build, where the build knew it (environment variable `ROENTGEN_COMMIT`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The device that was used.
    pub device: String,
    /// Backends in the binary.
    pub features: Vec<String>,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Logical cores that the process may use.
    pub cores: usize,
    /// The sha256 of the resolved configuration.
    pub config_sha256: String,
}

impl Environment {
    /// The environment of this process on `device`, with the `features` of its binary.
    pub fn new(device: &str, features: &[&str], config_sha256: &str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            burn: BURN_VERSION.to_owned(),
            commit: option_env!("ROENTGEN_COMMIT").map(str::to_owned),
            device: device.to_owned(),
            features: features.iter().map(|&name| name.to_owned()).collect(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            config_sha256: config_sha256.to_owned(),
        }
    }
}

/// A hold on a run folder; the system lets go of it with the process, however that ends.
#[derive(Debug)]
pub struct RunLock {
    _file: fs::File,
}

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// A new run folder at `path`, readable by its owner alone. An empty folder of that name is taken.
    ///
    /// # Errors
    /// The folder holds a run or other files, or cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        if !claim(path)? {
            if let Some(why) = occupied(path)? {
                return Err(EngineError::RunDir { path: path.to_owned(), why });
            }
            tighten(path);
        }
        Ok(Self { path: path.to_owned() })
    }

    /// A new run folder at `base`, or at the first free one of `base-2`, `base-3`, ... Two processes that ask at the
    /// same time get different folders.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn create_next(base: &Path) -> Result<Self> {
        for number in 1..MAX_NUMBERED {
            let mut name = base.as_os_str().to_owned();
            if number > 1 {
                name.push(format!("-{number}"));
            }
            let path = PathBuf::from(name);
            if claim(&path)? {
                return Ok(Self { path });
            }
        }
        Err(EngineError::RunDir { path: base.to_owned(), why: RunDirProblem::NoFreeName })
    }

    /// The existing run folder at `path`.
    ///
    /// # Errors
    /// There is no run in it.
    pub fn open(path: &Path) -> Result<Self> {
        let run = Self { path: path.to_owned() };
        if run.config().is_file() {
            Ok(run)
        } else {
            Err(EngineError::RunDir { path: run.path, why: RunDirProblem::NoRun })
        }
    }

    /// Whether a run in `path` was started and has no figures yet.
    pub fn is_unfinished(path: &Path) -> bool {
        path.join(CONFIG).is_file() && !path.join(EVAL).exists()
    }

    /// Keeps other processes out of the folder for as long as the result lives, or the process.
    ///
    /// # Errors
    /// [`RunDirProblem::Locked`] where another process is in it; or the lock cannot be written.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.path.join(LOCK);
        let failed = |source| DataError::Io { action: "lock", path: path.clone(), source };
        let mut file =
            fs::File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let by = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
                let by = if by.is_empty() { "another process".to_owned() } else { by };
                return Err(EngineError::RunDir { path: self.path.clone(), why: RunDirProblem::Locked { by } });
            }
            Err(fs::TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        // On a shared disk the process may be on another machine; where the system does not tell its name, it is left out.
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").map(|name| format!(" on {}", name.trim()));
        let holder = format!("process {}{}", std::process::id(), machine.unwrap_or_default());
        file.set_len(0).and_then(|()| writeln!(file, "{holder}")).map_err(failed)?;
        Ok(RunLock { _file: file })
    }

    /// Removes what interrupted writes left behind.
    ///
    /// # Errors
    /// The folder cannot be listed or written.
    pub fn clean(&self) -> Result<()> {
        fsx::remove_leftovers(&self.path)?;
        Ok(fsx::remove_leftovers(&self.best())?)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Versions, device and build.
    pub fn environment(&self) -> PathBuf {
        self.path.join("env.json")
    }

    /// The log, one JSON object a line.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.jsonl")
    }

    /// The metrics, one JSON object a line.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The folder of TensorBoard events.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tb")
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The folder of the weights with the lowest validation loss so far.
    pub fn best(&self) -> PathBuf {
        self.checkpoints().join("best")
    }

    /// The final weights.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// The final figures.
    pub fn eval(&self) -> PathBuf {
        self.path.join(EVAL)
    }

    /// Writes the resolved configuration.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_config(&self, toml: &str) -> Result<()> {
        Ok(fsx::write_atomic(&self.config(), toml.as_bytes())?)
    }

    /// Writes versions, device and build.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_environment(&self, environment: &Environment) -> Result<()> {
        write_json(&self.environment(), environment)
    }

    /// Writes the final figures.
    ///
    /// # Errors
    /// The folder cannot be written, or `figures` has keys that JSON cannot hold.
    pub fn write_eval<T: Serialize>(&self, figures: &T) -> Result<()> {
        write_json(&self.eval(), figures)
    }
}

/// Writes `value` as indented JSON with a line break at the end.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| DataError::Io {
        action: "write",
        path: path.to_owned(),
        source: error.into(),
    })?;
    bytes.push(b'\n');
    Ok(fsx::write_atomic(path, &bytes)?)
}

/// Creates the folder at `path`; whether it was this call that created it.
fn claim(path: &Path) -> Result<bool> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fsx::create_private_dir(parent)?;
    }
    // Not recursive: the system tells exactly one of two processes that it created the folder.
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(DataError::Io { action: "create folder", path: path.to_owned(), source }.into()),
    }
}

/// Why the existing `path` cannot take a new run; `None` where it can.
fn occupied(path: &Path) -> Result<Option<RunDirProblem>> {
    if !path.is_dir() {
        return Ok(Some(RunDirProblem::NotAFolder));
    }
    let failed = |source| DataError::Io { action: "list", path: path.to_owned(), source };
    let mut foreign = None;
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        // Hidden files (.gitkeep, .DS_Store) are nobody's results.
        if !name.as_encoded_bytes().starts_with(b".") {
            foreign = Some(RunDirProblem::Foreign);
        }
    }
    if path.join(EVAL).exists() || path.join(MODEL).exists() {
        Ok(Some(RunDirProblem::Finished))
    } else if path.join(CONFIG).exists() {
        Ok(Some(RunDirProblem::Unfinished))
    } else {
        Ok(foreign)
    }
}

/// Keeps other users out of a folder that existed before. Some file systems know no permissions: a warning is all that
/// can be done there.
#[cfg(unix)]
fn tighten(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(0o700)) {
        tracing::warn!(%error, "other users may be able to read the run folder");
    }
}

#[cfg(not(unix))]
fn tighten(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(result: Result<RunDir>) -> RunDirProblem {
        match result.unwrap_err() {
            EngineError::RunDir { why, .. } => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    #[cfg(unix)]
    fn new_and_empty_folders_become_private() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let run = RunDir::create(&root.path().join("a/b")).unwrap();
        assert_eq!(mode(run.path()), 0o700);
        let empty = root.path().join("empty");
        fs::create_dir(&empty).unwrap();
        fs::set_permissions(&empty, fs::Permissions::from_mode(0o755)).unwrap();
        fs::File::options().create_new(true).write(true).open(empty.join(".gitkeep")).unwrap();
        RunDir::create(&empty).unwrap();
        assert_eq!(mode(&empty), 0o700);
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(&root.path().join("run")).unwrap();
        assert_eq!(problem(RunDir::open(run.path())), RunDirProblem::NoRun);
        run.write_config("a = 1\n").unwrap();
        assert_eq!(problem(RunDir::create(run.path())), RunDirProblem::Unfinished);
        assert_eq!(problem(RunDir::create(&run.config())), RunDirProblem::NotAFolder);
        run.write_eval(&serde_json::json!({"b": {"value": 0.5}})).unwrap();
        let error = RunDir::create(run.path()).unwrap_err().to_string();
        assert!(error.contains("finished run") && error.contains("--out"), "{error}");
        assert_eq!(problem(RunDir::create(root.path())), RunDirProblem::Foreign);

        assert_eq!(RunDir::open(run.path()).unwrap(), run);
        assert_eq!(fs::read_to_string(run.config()).unwrap(), "a = 1\n");
        assert_eq!(fs::read_to_string(run.eval()).unwrap(), "{\n  \"b\": {\n    \"value\": 0.5\n  }\n}\n");
    }

    #[test]
    fn one_process_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(&root.path().join("run")).unwrap();
        let held = run.lock().unwrap();
        let EngineError::RunDir { why: RunDirProblem::Locked { by }, .. } = run.lock().unwrap_err() else { panic!() };
        assert!(by.starts_with(&format!("process {}", std::process::id())), "{by}");
        #[cfg(target_os = "linux")]
        assert!(by.contains(" on "), "the machine is not named: {by}");
        drop(held);
        run.lock().unwrap();
        // The lock alone is no run.
        RunDir::create(run.path()).unwrap();
    }

    #[test]
    fn default_names_are_counted_up() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("runs/convirt.phantom-7");
        let names: Vec<PathBuf> = (0..3)
            .map(|_| RunDir::create_next(&base).unwrap().path.strip_prefix(root.path()).unwrap().into())
            .collect();
        let expected = ["runs/convirt.phantom-7", "runs/convirt.phantom-7-2", "runs/convirt.phantom-7-3"];
        assert_eq!(names, expected.map(PathBuf::from));
    }

    #[test]
    fn the_environment_reads_back_and_names_the_pinned_burn() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(&root.path().join("run")).unwrap();
        let environment = Environment::new("cpu", &["flex"], "00ff");
        run.write_environment(&environment).unwrap();
        let text = fs::read_to_string(run.environment()).unwrap();
        assert_eq!(serde_json::from_str::<Environment>(&text).unwrap(), environment);
        assert!(!text.contains('/'), "a path in {text}");
        let workspace = include_str!("../../../Cargo.toml");
        assert!(workspace.contains(&format!("burn = {{ version = \"={BURN_VERSION}\"")));
    }
}
