//! Checkpoints that are damaged or made to do harm: each is refused with its reason, in bounded time, and nothing is run.

use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

use model::weights::torch::{TorchError, TorchFile, TorchProblem};
use proptest::prelude::*;

use super::torch_build::{Entry, archive, dict, entry, tensor, text, zip, zip_64};
use super::torch_files::fixtures;

/// Longest time for a file of these, on a busy machine without optimisation.
const LONG: Duration = Duration::from_secs(20);

fn open(bytes: Vec<u8>) -> Result<TorchFile, TorchError> {
    let start = Instant::now();
    let file = TorchFile::from_reader(Path::new("hostile.pt"), Cursor::new(bytes));
    assert!(start.elapsed() < LONG, "it took {:?}", start.elapsed());
    file
}

fn good() -> Vec<u8> {
    dict(&[("w", tensor(6, 0, &[2, 3], &[3, 1]))])
}

#[test]
fn the_archives_of_these_tests_are_read() {
    let entries = [entry("archive/data.pkl", &good()), entry("archive/data/0", &[7; 24])];
    let wide = zip_64(&entries);
    for file in [zip(&entries), wide.clone()] {
        let tensor = open(file).unwrap().read("w").unwrap();
        assert_eq!((tensor.shape, tensor.bytes), (vec![2, 3], vec![7; 24]));
    }
    // The place of the 64-bit end: behind itself, and beyond any file.
    for place in [wide.len() as u64 - 60, u64::MAX - 20] {
        let mut file = wide.clone();
        let at = file.len() - 29 - 12;
        file[at..at + 8].copy_from_slice(&place.to_le_bytes());
        let error = open(file).unwrap_err();
        assert!(matches!(error.problem, TorchProblem::Archive(_)), "{error}");
    }
}

#[test]
fn tensors_outside_their_storages_are_refused() {
    let cases: [(&str, Vec<u8>); 12] = [
        ("offset", tensor(6, 1, &[2, 3], &[3, 1])),
        ("huge offset", tensor(6, i64::MAX, &[1], &[1])),
        ("negative offset", tensor(6, -1, &[1], &[1])),
        ("shape", tensor(6, 0, &[2, 4], &[4, 1])),
        ("stride", tensor(6, 0, &[2, 3], &[4, 1])),
        ("negative stride", tensor(6, 5, &[2], &[-1])),
        ("huge stride", tensor(6, 0, &[3, 2], &[i64::MAX, i64::MAX])),
        ("huge shape", tensor(6, 0, &[1 << 40, 1 << 40], &[0, 0])),
        ("huge empty shape", tensor(6, 0, &[1 << 40, 1 << 40, 0], &[0, 0, 0])),
        ("two numbers of axes", tensor(6, 0, &[2, 3], &[1])),
        ("many axes", tensor(6, 0, &[1; 40], &[1; 40])),
        ("more repeated than memory", tensor(6, 0, &[1 << 29], &[0])),
    ];
    for (what, tensor) in cases {
        let error = open(archive(&dict(&[("w", tensor)]))).expect_err(what);
        let (TorchProblem::Misplaced { name, .. } | TorchProblem::NotATensor { name, .. }) = &error.problem else {
            panic!("{what}: {error}");
        };
        assert_eq!(name, "w", "{what}");
    }
    // Names that share numbers: nine tensors of a file of a few bytes, 1.2 GB written out.
    let shared: Vec<(String, Vec<u8>)> = (0..9).map(|n| (format!("w{n}"), tensor(6, 0, &[1 << 25], &[0]))).collect();
    let shared: Vec<(&str, Vec<u8>)> = shared.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let error = open(archive(&dict(&shared))).unwrap_err();
    assert!(matches!(error.problem, TorchProblem::TooMuch { .. }), "{error}");
    assert_eq!(open(archive(&dict(&shared[..1]))).unwrap().tensors()["w0"].shape, [1 << 25]);
}

#[test]
fn storages_that_are_not_in_the_file_are_refused() {
    let missing = zip(&[entry("archive/data.pkl", &good())]);
    let short = zip(&[entry("archive/data.pkl", &good()), entry("archive/data/0", &[7; 20])]);
    let padded = zip(&[entry("archive/data.pkl", &good()), entry("archive/data/0", &[7; 28])]);
    let long = archive(&dict(&[("w", tensor(i64::MAX, 0, &[1], &[1]))]));
    for (what, bytes) in [("missing", missing), ("short", short), ("padded", padded), ("long", long)] {
        let error = open(bytes).expect_err(what);
        assert!(matches!(error.problem, TorchProblem::Misplaced { .. }), "{what}: {error}");
    }
}

#[test]
fn archives_that_lie_are_refused() {
    let (pickle, data) = (entry("archive/data.pkl", &good()), entry("archive/data/0", &[7; 24]));
    let sound = zip(&[pickle.clone(), data.clone()]);
    let with = |data: Entry| zip(&[pickle.clone(), data]);
    let end = sound.len() - 22;
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let cases: [(&str, Vec<u8>); 14] = [
        ("two sizes", with(Entry { size: 20, ..data.clone() })),
        ("over the directory", with(Entry { size: 25, stored: 25, ..data.clone() })),
        ("beyond the file", with(Entry { size: u32::MAX - 1, stored: u32::MAX - 1, ..data.clone() })),
        ("64-bit size missing", with(Entry { size: u32::MAX, stored: u32::MAX, ..data.clone() })),
        ("on another entry", with(Entry { header: Some(0), ..data.clone() })),
        ("inside another entry", with(Entry { header: Some(40), ..data.clone() })),
        ("header beyond the file", with(Entry { header: Some(1 << 30), ..data.clone() })),
        ("no header there", with(Entry { header: Some(u32::try_from(30 + 16 + good().len() + 1).unwrap()), ..data })),
        ("one name twice", zip(&[pickle.clone(), pickle.clone()])),
        ("two pickles", zip(&[pickle.clone(), entry("other/data.pkl", &good())])),
        ("more entries than there are", patched(end + 10, &[3, 0])),
        ("fewer entries than there are", patched(end + 10, &[1, 0])),
        ("directory too long", patched(end + 12, &[0xff, 0xff, 0, 0])),
        ("directory beyond the file", patched(end + 16, &[0xff, 0xff, 0xff, 0x7f])),
    ];
    for (what, bytes) in cases {
        let error = open(bytes).expect_err(what);
        assert!(matches!(error.problem, TorchProblem::Archive(_)), "{what}: {error}");
    }
    for cut in 64..sound.len() {
        let error = open(sound[..cut].to_vec()).unwrap_err();
        assert!(matches!(error.problem, TorchProblem::Archive(_)), "cut at {cut}: {error}");
    }
}

#[test]
fn what_torch_never_writes_is_refused_by_name() {
    let data = entry("archive/data/0", &[7; 24]);
    for (method, flags) in [(8, 0), (0, 1)] {
        let pickle = Entry { method, flags, ..entry("archive/data.pkl", &good()) };
        let error = open(zip(&[pickle, data.clone()])).unwrap_err();
        assert!(matches!(error.problem, TorchProblem::Compressed(ref name) if name == "archive/data.pkl"), "{error}");
    }
    let pickle = entry("archive/data.pkl", &good());
    let error = open(zip(&[pickle.clone(), data.clone(), entry("archive/byteorder", b"big")])).unwrap_err();
    assert!(matches!(error.problem, TorchProblem::BigEndian), "{error}");
    let error = open(zip(&[pickle, data, entry("archive/byteorder", b"middle")])).unwrap_err();
    assert!(matches!(error.problem, TorchProblem::Archive(_)), "{error}");
    let error = open(zip(&[entry("pytorch_model.bin", &good())])).unwrap_err();
    assert!(matches!(error.problem, TorchProblem::NotTorch(_)), "{error}");
}

#[test]
fn payloads_are_not_run() {
    let made = std::env::temp_dir().join(format!("torch_payload_{}", std::process::id()));
    let command = format!("touch {}", made.display());
    let python = format!("open({:?}, 'w')", made.display().to_string());
    let call = |class: &str, argument: &[u8]| [format!("c{class}\n").as_bytes(), argument, b"\x85R"].concat();
    let stack_global = [&b"\x8c\x02os\x8c\x06system\x93"[..], &text(&command), b"\x85R"].concat();
    let payloads: [Vec<u8>; 8] = [
        call("os\nsystem", &text(&command)),
        call("posix\nsystem", &text(&command)),
        call("builtins\neval", &text(&python)),
        call("__builtin__\nexec", &text(&python)),
        call(
            "subprocess\nPopen",
            &[b"(".to_vec(), text("touch"), text(&made.display().to_string()), b"l".to_vec()].concat(),
        ),
        [b"(".to_vec(), text(&command), b"ios\nsystem\n".to_vec()].concat(),
        [b"(cos\nsystem\n".to_vec(), text(&command), b"o".to_vec()].concat(),
        stack_global,
    ];
    for (index, payload) in payloads.iter().enumerate() {
        // Outside the state dict it is harmless, inside it is an error that names its key.
        let wrapped = [b"}".as_slice(), &text("w"), &tensor(6, 0, &[6], &[1]), b"s"].concat();
        let outside = open(archive(&dict(&[("state_dict", wrapped), ("callbacks", payload.clone())]))).unwrap();
        assert_eq!(outside.read("w").unwrap().bytes, [7; 24]);
        let inside = dict(&[("w", tensor(6, 0, &[6], &[1])), ("evil", payload.clone())]);
        let error = open(archive(&inside)).unwrap_err();
        assert!(
            matches!(error.problem, TorchProblem::NotATensor { ref name, .. } if name == "evil"),
            "{index}: {error}"
        );
        let error = open(archive(&[b"\x80\x02", payload.as_slice(), b"."].concat())).unwrap_err();
        assert!(matches!(error.problem, TorchProblem::NoStateDict { .. }), "{index}: {error}");
        assert!(!made.exists(), "payload {index} was run");
    }
}

#[test]
fn bombs_do_not_go_off() {
    let w = tensor(6, 0, &[6], &[1]);
    // Each level is a dict with the level below under two keys: 2^40 names.
    let mut laughs = [b"\x80\x02}q\x00".as_slice(), &text("w"), &w, b"s0"].concat();
    for level in 0..40_u8 {
        laughs.extend([b"}(".as_slice(), &text("a"), &[b'h', level], &text("b"), &[b'h', level], b"u"].concat());
        laughs.extend([b'q', level + 1, b'0']);
    }
    laughs.extend(b"h\x28.");
    let lists = [b"\x80\x02]q\x00".as_slice(), &b"h\x00h\x00\x86q\x00".repeat(100_000), b"."].concat();
    // A dict that holds itself.
    let cycle = [b"\x80\x02}q\x00".as_slice(), &text("model"), b"h\x00s", &text("w"), &w, b"s."].concat();
    let deep = |open: &[u8], close: &[u8]| {
        [b"\x80\x02".as_slice(), &open.repeat(300_000), &close.repeat(300_000), b"."].concat()
    };
    let names = text(&"n".repeat(100_000));
    let mut sized = b"\x80\x02(".to_vec();
    sized.extend(b"K\x01".repeat(500_000));
    sized.extend(b"lq\x00ccollections\nOrderedDict\nq\x01h\x00\x85q\x020");
    sized.extend(b"h\x01h\x02R0".repeat(500_000));
    let cases: [(&str, Vec<u8>); 13] = [
        ("laughs", laughs),
        ("shared lists", lists),
        ("cycle", cycle),
        ("deep lists", deep(b"]", b"a")),
        ("deep tuples", deep(b")", b"\x85")),
        ("open marks", [b"\x80\x02".as_slice(), &b"(".repeat(2_000_000)].concat()),
        ("deep stack", [b"\x80\x02".as_slice(), &b"N".repeat(2_000_000)].concat()),
        ("long memo", [b"\x80\x04N".as_slice(), &b"\x94".repeat(3_000_000)].concat()),
        ("endless steps", [b"\x80\x02".as_slice(), &b"N0".repeat(5_000_000)].concat()),
        ("work again and again", sized),
        ("long announced", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec()),
        ("long number", b"\x80\x02\x8b\xff\xff\xff\x7f".to_vec()),
        ("long name", dict(&[("w", w.clone())]).into_iter().take(3).chain(names).chain(w).chain(*b"s.").collect()),
    ];
    for (what, pickle) in cases {
        let error = open(archive(&pickle)).expect_err(what);
        let problem = &error.problem;
        let typed = matches!(
            problem,
            TorchProblem::TooMuch { .. } | TorchProblem::Pickle { .. } | TorchProblem::NoStateDict { .. }
        );
        assert!(typed, "{what}: {error}");
        assert!(error.to_string().len() < 2000, "{what}: the message is too long");
    }
}

#[test]
fn damaged_pickles_are_refused() {
    let cases: [(&str, &[u8]); 14] = [
        ("nothing", b""),
        ("no value", b"\x80\x02."),
        ("no end", b"\x80\x02}"),
        ("unknown instruction", b"\x80\x02\xff."),
        ("protocol 9", b"\x80\x09}."),
        ("no mark", b"\x80\x02t."),
        ("no memo", b"\x80\x02h\x05."),
        ("pop below the mark", b"\x80\x02N(1000."),
        ("a key without a value", b"\x80\x02}(Nu."),
        ("an append without a list", b"\x80\x02Na."),
        ("a class without a line", b"\x80\x02cos"),
        ("a class of numbers", b"\x80\x04K\x01K\x02\x93."),
        ("an object without a class", b"\x80\x02(o."),
        ("an integer of letters", b"Iabc\n."),
    ];
    for (what, pickle) in cases {
        let error = open(archive(pickle)).expect_err(what);
        assert!(matches!(error.problem, TorchProblem::Pickle { .. }), "{what}: {error}");
    }
}

/// The legacy fixture of every type.
fn legacy() -> Vec<u8> {
    let (path, _) = fixtures().into_iter().find(|(path, _)| path.ends_with("types_legacy.pth")).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn damaged_legacy_files_are_refused() {
    let sound = legacy();
    let little = sound.windows(13).position(|window| window == b"little_endian").unwrap();
    let mut big = sound.clone();
    // The key is remembered by two bytes; the value follows.
    assert_eq!(big[little + 15], 0x88);
    big[little + 15] = 0x89;
    assert!(matches!(open(big).unwrap_err().problem, TorchProblem::BigEndian));
    // The list of keys, behind which the length of the first storage stands.
    let list = sound.windows(6).rposition(|window| window == b"\x80\x02]q\x00(").unwrap();
    let count = list + sound[list..].windows(2).position(|window| window == b"e.").unwrap() + 2;
    for wrong in [0, 5, u64::MAX] {
        let mut file = sound.clone();
        file[count..count + 8].copy_from_slice(&wrong.to_le_bytes());
        let error = open(file).unwrap_err();
        assert!(
            matches!(error.problem, TorchProblem::Storages(ref what) if what.contains("another length")),
            "{error}"
        );
    }
    for cut in [sound.len() - 1, sound.len() - 60] {
        let error = open(sound[..cut].to_vec()).unwrap_err();
        assert!(matches!(error.problem, TorchProblem::Storages(_)), "{error}");
    }
    for cut in 64..sound.len() {
        assert!(open(sound[..cut].to_vec()).is_err(), "cut at {cut}");
    }
}

/// Opens the bytes and reads every tensor; what is read has the size that was announced.
fn read_all(bytes: Vec<u8>) {
    let Ok(file) = open(bytes) else { return };
    for (name, info) in file.tensors() {
        let numbers: usize = info.shape.iter().product();
        if numbers < 1 << 20 {
            assert_eq!(file.read(name).unwrap().bytes.len(), numbers * info.dtype.bitsize() / 8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn flipped_and_cut_files_never_panic(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let fixtures = fixtures();
        let mut bytes = std::fs::read(&fixtures[which.index(fixtures.len())].0).unwrap();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_all(bytes);
    }

    /// Instructions at random, so that the machine is met with what no writer would emit.
    #[test]
    fn random_pickles_never_panic(pickle in prop::collection::vec(
        prop_oneof![
            prop::sample::select(b"(.0123FIJKLMNPQRSTUVXabcd}eghijl]opqrst)uBCG".to_vec()).prop_map(|code| vec![code]),
            (0x80_u8..0x99).prop_map(|code| vec![code]),
            (0_u8..4).prop_map(|number| vec![b'q', number]),
            (0_u8..4).prop_map(|number| vec![b'h', number]),
            Just(tensor(6, 0, &[6], &[1])),
            Just(text("model")),
            Just(b"}".to_vec()),
            Just(b"ccollections\nOrderedDict\n".to_vec()),
        ],
        0..60,
    )) {
        read_all(archive(&[pickle.concat(), b".".to_vec()].concat()));
    }
}
