//! Files that `torch.save` wrote. Nothing in them is run: their pickles are parsed, and what would be called is named.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};
use pytorch_reader::{PickleValue, PytorchReader, Tensor};

use super::beside::Told;

/// Where checkpoints keep their weights, in the order of preference; a file without any of these holds them at its
/// top.
const KEYS: [&str; 5] = ["state_dict", "model", "model_state_dict", "model_ema", "state_dict_ema"];

/// Modules of Python and its libraries whose functions no weights need, and attacks do: what runs programs or code, opens
/// files or connections, or reaches the interpreter. What they contain is meant as well (`os.path`).
const FORBIDDEN_MODULES: [&str; 83] = [
    "_io",
    "_posixsubprocess",
    "_thread",
    "_winapi",
    "antigravity",
    "asyncio",
    "atexit",
    "bdb",
    "cProfile",
    "cgi",
    "code",
    "codeop",
    "commands",
    "compileall",
    "concurrent",
    "ctypes",
    "dbm",
    "distutils",
    "doctest",
    "ensurepip",
    "fcntl",
    "fileinput",
    "ftplib",
    "gc",
    "getpass",
    "glob",
    "http",
    "idlelib",
    "imaplib",
    "imp",
    "importlib",
    "inspect",
    "io",
    "lib2to3",
    "linecache",
    "logging.config",
    "marshal",
    "mmap",
    "modulefinder",
    "multiprocessing",
    "nt",
    "ntpath",
    "numpy.f2py",
    "numpy.testing",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "platform",
    "posix",
    "posixpath",
    "profile",
    "pty",
    "py_compile",
    "pydoc",
    "requests",
    "resource",
    "runpy",
    "sched",
    "select",
    "setuptools",
    "shelve",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "timeit",
    "torch.hub",
    "torch.jit",
    "torch.utils.cpp_extension",
    "trace",
    "unittest",
    "urllib",
    "venv",
    "webbrowser",
    "zipimport",
];

/// Functions of Python itself that run or open what they are given.
const FORBIDDEN_BUILTINS: [&str; 13] = [
    "__import__",
    "apply",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "execfile",
    "getattr",
    "input",
    "open",
    "setattr",
    "vars",
];

/// Named tensors, none of which is read yet, and what else the file says.
pub(super) struct Pickled {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) told: Told,
}

/// Opens the set of weights under `key`, or the usual one.
pub(super) fn open(path: &Path, key: Option<&str>) -> Result<Pickled> {
    let name = path.display();
    let broken = |error| anyhow!("{name}: no weights that can be read: {error}");
    let tree = PytorchReader::read_pickle_data(path, None).map_err(broken)?;
    if let Some(call) = forbidden_call(&tree) {
        bail!(
            "{name}: the file would call `{call}` where Python opens it; no weights need that, and nothing was run"
        );
    }
    let PickleValue::Dict(top) = &tree else {
        bail!("{name}: no weights: the file holds {} and not a dictionary", kind(&tree));
    };
    let is_set = |key: &str| matches!(top.get(key), Some(PickleValue::Dict(entries)) if !entries.is_empty());
    let chosen = match key {
        Some(key) => {
            let mut keys: Vec<&str> = top.keys().map(String::as_str).filter(|key| is_set(key)).collect();
            keys.sort_unstable();
            ensure!(
                is_set(key),
                "{name}: has no weights under `{key}`, possible are `{}`",
                keys.join("`, `")
            );
            Some(key)
        }
        None => KEYS.into_iter().find(|key| is_set(key)),
    };
    let tensors = match chosen {
        Some(key) => PytorchReader::with_top_level_key(path, key).map_err(broken)?.into_tensors(),
        None => PytorchReader::new(path).map_err(broken)?.into_tensors(),
    };
    ensure!(!tensors.is_empty(), "{name}: holds no tensor");
    let mut told = Told::of_pickle(top);
    told.other_sets = KEYS.into_iter().filter(|key| is_set(key) && Some(*key) != chosen).collect();
    told.set = chosen.map(str::to_owned);
    Ok(Pickled { tensors: tensors.into_iter().collect(), told })
}

/// The first function named anywhere in a pickle that only an attack calls.
fn forbidden_call(value: &PickleValue) -> Option<&str> {
    match value {
        PickleValue::Unsupported(name) => {
            let (module, function) = name.rsplit_once('.').unwrap_or(("", name));
            let is_within = |outer: &&str| {
                module.strip_prefix(*outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let is_builtin = ["builtins", "__builtin__"].contains(&module);
            let is_forbidden = FORBIDDEN_MODULES.iter().any(is_within)
                || (is_builtin && FORBIDDEN_BUILTINS.contains(&function));
            is_forbidden.then_some(name.as_str())
        }
        PickleValue::List(values) => values.iter().find_map(forbidden_call),
        PickleValue::Dict(entries) => entries.values().find_map(forbidden_call),
        _ => None,
    }
}

/// What a value is called.
fn kind(value: &PickleValue) -> String {
    match value {
        PickleValue::None => "nothing".to_owned(),
        PickleValue::Bool(_) | PickleValue::Int(_) | PickleValue::Float(_) => "a number".to_owned(),
        PickleValue::String(_) | PickleValue::Bytes(_) => "a text".to_owned(),
        PickleValue::List(_) => "a list".to_owned(),
        PickleValue::Dict(_) => "a dictionary".to_owned(),
        PickleValue::Unsupported(name) => format!("an object of `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_only_attacks_make_are_found_wherever_they_are() {
        let call = |name: &str| PickleValue::Unsupported(name.to_owned());
        let nested = |value| PickleValue::List(vec![PickleValue::None, PickleValue::List(vec![value])]);
        for name in [
            "posix.system",
            "builtins.eval",
            "subprocess.Popen",
            "os.path.join",
            "io.open",
            "timeit.timeit",
            "torch.hub.load",
        ] {
            assert_eq!(forbidden_call(&nested(call(name))), Some(name));
        }
        for name in [
            "argparse.Namespace",
            "torch.Tensor",
            "numpy.core.multiarray.scalar",
            "builtins.set",
            "functools.partial",
            "mmengine.logging.history_buffer.HistoryBuffer",
            "osmium.Reader",
            "torch.nn.modules.linear.Linear",
        ] {
            assert_eq!(forbidden_call(&nested(call(name))), None, "{name}");
        }
    }
}
