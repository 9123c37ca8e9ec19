//! A wall clock that jumps by hours, forward and back, at every look at it: the run ends with the same bytes, and a deadline falls when it
//! should, because deadlines are counted on the monotonic clock. The jumps are made by a library that is loaded before the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

mod common;

use common::{assert_ok, assert_same, temper, timeless};

/// Jumps seven hours to and fro, and says at the end how often it was asked.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static atomic_int asked;
static long jump(void) { return (atomic_fetch_add(&asked, 1) % 2 ? 7L : -7L) * 3600; }
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, t);
    if (!r && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += jump();
    return r;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    int r = clock_gettime(CLOCK_REALTIME, &now);
    if (!r && t) { t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000; }
    return r;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
__attribute__((destructor)) static void say(void) {
    const char *path = getenv("TEMPER_TEST_CLOCK");
    FILE *file = path && atomic_load(&asked) ? fopen(path, "a") : NULL;
    if (file) { fprintf(file, "%d\n", atomic_load(&asked)); fclose(file); }
}
"#;

/// Builds the library; none where the machine has no C compiler.
fn shim(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SHIM).expect("it writes");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").status();
    match built {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        built => {
            assert!(built.expect("cc starts").success(), "the library is built");
            Some(library)
        }
    }
}

#[test]
fn inv_9_a_wall_clock_that_jumps_by_hours_changes_nothing() {
    let out = tempfile::tempdir().expect("a folder");
    let Some(library) = shim(out.path()) else {
        eprintln!("no C compiler: the clock cannot be made to jump");
        return;
    };
    let asked = out.path().join("asked");
    let run = |name: &str, recipe: &str, jumps: bool| {
        let set = format!("run.out={}", out.path().join(name).display());
        let mut command = temper(&["run", recipe, "--set", &set, "--set", "run.clock=1700000000"]);
        if jumps {
            command.env("LD_PRELOAD", &library).env("TEMPER_TEST_CLOCK", &asked);
        }
        command.output().expect("the binary runs")
    };
    assert_ok(&run("calm", "configs/chaos.toml", false));
    assert_ok(&run("jumps", "configs/chaos.toml", true));
    let asked = fs::read_to_string(&asked).expect("the library was loaded and the wall clock was looked at");
    assert!(asked.lines().any(|n| n.parse::<u64>().is_ok_and(|n| n > 0)), "{asked}");
    let (calm, jumps) = (out.path().join("calm/chaos"), out.path().join("jumps/chaos"));
    assert_same(&calm, &jumps);
    assert_eq!(timeless(&calm), timeless(&jumps));

    // A verifier that never answers: its deadline falls after 3 s, neither at once nor hours later.
    let plugin = out.path().join("silent.py");
    fs::write(&plugin, "import time\ndef compute_score(solution_str, ground_truth):\n    time.sleep(10_000)\n")
        .expect("it writes");
    let own = format!(
        "{{ name = \"plugin\", settings = {{ python = \"{}:compute_score\", timeout_s = 600.0 }} }}",
        plugin.display()
    );
    let text = fs::read_to_string("configs/chaos.toml").expect("a recipe").replace("{ name = \"math\" }", &own);
    let text =
        text.replace("name = \"chaos\"", "name = \"silent\"\nverdict_deadline_s = 3.0").replace("after = true", "");
    let recipe = out.path().join("silent.toml");
    fs::write(
        &recipe,
        text.replace("[eval]\n", "[eval]\nafter = false\n")
            .replace("domains = [\"math\", \"code\"]", "domains = [\"math\"]"),
    )
    .expect("it writes");
    let began = Instant::now();
    let output = run("silent", recipe.to_str().expect("a plain path"), true);
    let (said, took) = (String::from_utf8_lossy(&output.stderr), began.elapsed());
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("plugin: no verdict within 3 s"), "{said}");
    assert!((Duration::from_secs(3)..Duration::from_secs(120)).contains(&took), "{took:?}");
}
