//! `sweep`: a table of runs by one command. Each cell is a recipe that is trained under several seeds; what is finished is
//! not done again, what was interrupted goes on.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::args::{RecipeArgs, TrainArgs};
use crate::compare::{CompareArgs, RESAMPLES, difference, parse_resamples};
use crate::device_spec::DeviceSpec;
use crate::exit::{Exit, Streams};
use crate::memory;
use crate::pretrain;
use crate::recipe::{self, Kind};
use crate::train::checkpoint::Checkpoint;
use crate::train::entries::Difference;
use crate::train::interrupt::{Interrupt, parse_duration};
use crate::wording::counted;

/// What is written beside the cells.
const TABLES: [&str; 3] = ["table.md", "table.png", "table.json"];

/// A sweep, as written in a TOML file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sweep {
    /// Each run is written to `folder/CELL/seed-N`, and the comparison to `folder`.
    pub(crate) folder: PathBuf,
    /// Each cell is trained once under each of them.
    seeds: Vec<u64>,
    /// Recipes of `cvx-pretrain` that are run before, each once: what cells begin with. Paths are relative to this file.
    #[serde(default)]
    pretrain: Vec<PathBuf>,
    /// In the order of the table; the first is what the others are compared with.
    pub(crate) cells: Vec<SweepCell>,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SweepCell {
    /// In the table, and as a folder.
    pub(crate) name: String,
    /// Its recipe, relative to this file.
    recipe: PathBuf,
}

/// Arguments of `sweep`.
#[derive(Debug, Clone, Args)]
pub struct SweepArgs {
    /// The sweep, as configs/transfer/nuclei.toml
    #[arg(value_name = "SWEEP.toml")]
    pub sweep: PathBuf,
    /// Change one entry of the recipes of all cells, as in `train.epochs=3`; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
    /// Save and end after so much time, as in `90s`, `30m`, `2h`; the same command goes on there
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// How often images are resampled for the intervals of the table; 0: there are none
    #[arg(long, value_name = "COUNT", default_value_t = RESAMPLES, value_parser = parse_resamples)]
    pub resamples: u32,
}

/// What a program does with the cells.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) train: fn(&TrainArgs, &mut Streams<'_>) -> Result<Exit>,
    pub(crate) plan: fn(&RecipeArgs) -> Result<Planned>,
    pub(crate) compare: fn(&CompareArgs, &mut Streams<'_>) -> Result<Exit>,
}

/// What a recipe says of its run.
pub(crate) struct Planned {
    resolved: String,
    folder: PathBuf,
    epochs: usize,
}

impl Planned {
    /// Of a recipe.
    ///
    /// # Errors
    /// Never: all of it can be written.
    pub(crate) fn of<R: Kind>(recipe: &R, folder: &Path, epochs: usize) -> Result<Self> {
        Ok(Self { resolved: recipe.to_toml()?, folder: folder.to_owned(), epochs })
    }
}

/// One run of the table, or before it.
struct Job {
    title: String,
    recipe: RecipeArgs,
    planned: Planned,
    train: fn(&TrainArgs, &mut Streams<'_>) -> Result<Exit>,
}

impl Sweep {
    /// Reads it.
    ///
    /// # Errors
    /// If it is no sweep, or has no cell or seed, or one twice.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| name.to_string())?;
        let mut sweep: Self = toml::from_str(&text).map_err(|error| {
            let is_recipe = text.lines().any(|line| line.trim() == "[run]");
            let hint = if is_recipe { "; it looks like a recipe, which `train` takes" } else { "" };
            anyhow!("{error}").context(format!(
                "{name} is not a sweep, which has a `folder`, `seeds`, and for each cell `[[cells]]` with a `name` and a \
                 `recipe`{hint}"
            ))
        })?;
        sweep.check().with_context(|| format!("{name} cannot work"))?;
        let beside = path.parent().unwrap_or(Path::new(""));
        let recipes = sweep.cells.iter_mut().map(|cell| &mut cell.recipe);
        recipes.chain(&mut sweep.pretrain).for_each(|recipe| *recipe = beside.join(&*recipe));
        Ok(sweep)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.folder.as_os_str().is_empty(), "folder = \"\": must name a folder");
        ensure!(!self.seeds.is_empty(), "seeds = []: give at least one, as in [0, 1, 2]");
        ensure!(!self.cells.is_empty(), "cells: there is none; give each a name and a recipe");
        let mut seeds = HashSet::new();
        for seed in &self.seeds {
            ensure!(seeds.insert(seed), "seeds: {seed} is there twice");
        }
        let mut names = HashSet::new();
        for SweepCell { name, .. } in &self.cells {
            let is_plain = |character: char| character.is_alphanumeric() || "-_.+ ".contains(character);
            ensure!(
                name.chars().all(is_plain) && name.chars().any(char::is_alphanumeric),
                "cells: the name `{name}` is to be a folder's: letters, digits, and any of `-_.+` and blanks"
            );
            ensure!(names.insert(name), "cells: the name `{name}` is there twice");
            ensure!(!TABLES.contains(&name.as_str()), "cells: `{name}` is the name of a table");
        }
        Ok(())
    }

    /// Where the runs of a cell lie, by seed.
    pub(crate) fn run_folders(&self, cell: &SweepCell) -> Vec<PathBuf> {
        self.seeds.iter().map(|seed| self.run_folder(cell, *seed)).collect()
    }

    fn run_folder(&self, cell: &SweepCell, seed: u64) -> PathBuf {
        self.folder.join(&cell.name).join(format!("seed-{seed}"))
    }

    /// All runs: those before the table, then every cell under the first seed, under the second, and so on, so that a table
    /// that is not finished is one of fewer seeds.
    fn jobs(&self, args: &SweepArgs, program: &Program) -> Result<Vec<Job>> {
        for set in &args.set {
            let entry = set.split('=').next().unwrap_or_default().trim();
            ensure!(
                !["seed", "run.folder"].contains(&entry),
                "--set {set}: the sweep gives each run its seed and its folder, by `seeds` and `folder`"
            );
        }
        let mut jobs = Vec::new();
        for path in &self.pretrain {
            let recipe = RecipeArgs { recipe: path.clone(), set: Vec::new() };
            let read: pretrain::Recipe = recipe::load(&recipe.recipe, &recipe.set)?;
            let planned = Planned::of(&read, &read.run.folder, read.train.epochs)?;
            jobs.push(Job { title: path.display().to_string(), recipe, planned, train: pretrain::train });
        }
        for seed in &self.seeds {
            for cell in &self.cells {
                let folder = self.run_folder(cell, *seed);
                let mut set = args.set.clone();
                set.push(format!("seed={seed}"));
                set.push(format!("run.folder={}", toml::Value::from(folder.display().to_string())));
                let recipe = RecipeArgs { recipe: cell.recipe.clone(), set };
                let planned = (program.plan)(&recipe)?;
                let title = format!("{}, seed {seed}", cell.name);
                jobs.push(Job { title, recipe, planned, train: program.train });
            }
        }
        Ok(jobs)
    }
}

impl Job {
    /// Whether the run is done.
    ///
    /// # Errors
    /// If it was done, or begun, by another recipe.
    fn is_finished(&self) -> Result<bool> {
        let Planned { resolved, folder, epochs } = &self.planned;
        let path = folder.join("recipe.toml");
        if !path.exists() {
            return Ok(false);
        }
        let name = path.display();
        let text = fs::read_to_string(&path).with_context(|| name.to_string())?;
        let old: Value = toml::from_str(&text).map_err(|e| anyhow!("{name}: not a recipe: {e}"))?;
        let new: Value = toml::from_str(resolved).context("the recipe given is not one")?;
        if let Some(Difference { path: entry, first, second }) = difference(&old, &new) {
            bail!(
                "{name} is not the recipe of this cell any more: `{entry}` was {first} and is now {second}; remove \
                 {} to train it anew, or give the sweep another folder",
                folder.display()
            );
        }
        let last = folder.join("checkpoints/last.safetensors");
        // One that cannot be read is a matter of the training, which takes the one before.
        let checkpoint = last.exists().then(|| Checkpoint::open(&last).ok()).flatten();
        Ok(checkpoint.is_some_and(|checkpoint| checkpoint.position.epoch >= *epochs))
    }
}

/// Trains what is not trained yet, and compares the cells.
///
/// # Errors
/// If the sweep or one of its recipes cannot be read, or a run cannot be trained; the other cells are trained all the same.
pub(crate) fn sweep(args: &SweepArgs, program: &Program, streams: &mut Streams<'_>) -> Result<Exit> {
    let began = Instant::now();
    let mut interrupt = Interrupt::after(args.max_time);
    let sweep = Sweep::open(&args.sweep)?;
    // All recipes are read, and compared with what was trained, before the first run: a mistake in the last is known now.
    let jobs = sweep.jobs(args, program)?;
    let finished = jobs.iter().map(Job::is_finished).collect::<Result<Vec<bool>>>()?;
    interrupt.listen()?;
    let cells = counted(sweep.cells.len(), "cell", "cells");
    let seeds = counted(sweep.seeds.len(), "seed", "seeds");
    writeln!(streams.out, "sweep       {}: {cells}, {seeds}", args.sweep.display())?;

    let mut failed = Vec::new();
    for (index, (job, is_finished)) in jobs.iter().zip(finished).enumerate() {
        let head = format!("[{}/{}] {}", index + 1, jobs.len(), job.title);
        if is_finished {
            writeln!(streams.out, "{head}: finished already")?;
            continue;
        }
        writeln!(streams.out, "\n{head}")?;
        memory::forget_peak();
        let train = TrainArgs {
            recipe: job.recipe.clone(),
            device: args.device,
            resume: job.planned.folder.join("recipe.toml").exists(),
            max_time: args.max_time.map(|most| most.saturating_sub(began.elapsed())),
            go_on_by: Some(args.command(program)),
        };
        match (job.train)(&train, streams) {
            // Whether a run kept its promise is told by itself; that all were trained is what is asked of a sweep.
            Ok(_) => {}
            // Cells would begin with a pretraining that is not done.
            Err(error) if index < sweep.pretrain.len() => return Err(error.context(head)),
            Err(error) => {
                writeln!(streams.err, "{head}: {error:#}")?;
                failed.push(job.title.as_str());
            }
        }
        if let Some(reason) = interrupt.reason() {
            let left = left(&jobs[index..])?;
            if left > 0 {
                let left = counted(left, "run", "runs");
                writeln!(
                    streams.out,
                    "\n{reason}: {left} of the table left\ngo on by:  {}",
                    args.command(program)
                )?;
                told(&failed)?;
                return Ok(Exit::Done);
            }
        }
    }
    // What is compared is lost by nobody who ends it.
    Interrupt::end_at_once();

    writeln!(streams.out)?;
    let beside = |name: &str| Some(sweep.folder.join(name));
    let compare = CompareArgs {
        runs: vec![args.sweep.display().to_string()],
        metric: Vec::new(),
        resamples: args.resamples,
        markdown: beside(TABLES[0]),
        png: beside(TABLES[1]),
        json: beside(TABLES[2]),
        set: Vec::new(),
        device: args.device,
    };
    let compared = (program.compare)(&compare, streams);
    // Why runs failed comes before what could not be compared for want of them.
    told(&failed)?;
    compared?;
    writeln!(streams.out, "also in {}: {}", sweep.folder.display(), TABLES.join(" "))?;
    Ok(Exit::Done)
}

/// Refuses to end well where runs failed.
fn told(failed: &[&str]) -> Result<()> {
    ensure!(failed.is_empty(), "not trained: {}", failed.join("; "));
    Ok(())
}

/// How many of the runs are not finished.
fn left(jobs: &[Job]) -> Result<usize> {
    let mut count = 0;
    for job in jobs {
        count += usize::from(!job.is_finished()?);
    }
    Ok(count)
}

impl SweepArgs {
    /// What to type to go on.
    fn command(&self, program: &Program) -> String {
        let Self { sweep, set, device, max_time, resamples } = self;
        let recipe = RecipeArgs { recipe: sweep.clone(), set: set.clone() };
        let train = TrainArgs { recipe, device: *device, resume: true, max_time: *max_time, go_on_by: None };
        let mut command = train.typed(program.name, "sweep");
        if *resamples != RESAMPLES {
            command += &format!(" --resamples {resamples}");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(text: &str) -> Result<Sweep> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("sweep.toml");
        fs::write(&path, text)?;
        Sweep::open(&path)
    }

    #[track_caller]
    fn refused(text: &str, with: &str) {
        let error = format!("{:#}", sweep(text).unwrap_err());
        assert!(error.contains(with), "{error}");
    }

    const CELL: &str = "[[cells]]\nname = \"a\"\nrecipe = \"a.toml\"\n";

    #[test]
    fn recipes_lie_beside_the_sweep() {
        let found = sweep(&format!("folder = \"runs\"\nseeds = [0, 1]\n{CELL}")).expect("a sweep");
        assert!(found.cells[0].recipe.is_absolute() && found.cells[0].recipe.ends_with("a.toml"));
        let folders = found.run_folders(&found.cells[0]);
        assert_eq!(folders, ["runs/a/seed-0", "runs/a/seed-1"].map(PathBuf::from));
    }

    #[test]
    fn what_cannot_work_is_named() {
        refused(&format!("folder = \"runs\"\nseeds = []\n{CELL}"), "seeds = []");
        refused(&format!("folder = \"runs\"\nseeds = [3, 3]\n{CELL}"), "3 is there twice");
        refused(&format!("folder = \"runs\"\nseeds = [0]\n{CELL}{CELL}"), "`a` is there twice");
        refused("folder = \"runs\"\nseeds = [0]\ncells = []\n", "there is none");
        refused(&format!("folder = \"runs\"\nseed = [0]\n{CELL}"), "unknown field `seed`");
        let outside = CELL.replace("\"a\"", "\"../a\"");
        refused(&format!("folder = \"runs\"\nseeds = [0]\n{outside}"), "`../a` is to be a folder's");
    }
}
