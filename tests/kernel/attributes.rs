//! Users, groups, limits, privileges: seen from inside the child.

use tinysup::event::{ExitStatus, Identity, Rlimit, StartError};

use crate::Case;
use crate::scene::{self, STRANGER, needs_root};
use crate::world::{World, conditions, field, identity, service, shell};

pub const CASES: &[Case] = &[
    ("a_user_by_number", a_user_by_number),
    ("a_user_by_name", a_user_by_name),
    ("groups_by_name_and_number", groups_by_name_and_number),
    ("our_own_user_needs_no_privilege", our_own_user_needs_no_privilege),
    ("another_user_needs_privilege", another_user_needs_privilege),
    ("unknown_users_and_groups", unknown_users_and_groups),
    ("no_capabilities", no_capabilities),
    ("one_capability_for_a_user", one_capability_for_a_user),
    ("one_capability_for_root", one_capability_for_root),
    ("no_new_privileges", no_new_privileges),
    ("umask_nice_oom_and_limits", umask_nice_oom_and_limits),
    ("few_descriptors_leave_the_oom_score", few_descriptors_leave_the_oom_score),
    ("attributes_that_need_privilege", attributes_that_need_privilege),
    ("the_open_files_limit_is_the_inherited_one", the_open_files_limit_is_the_inherited_one),
    ("working_directory", working_directory),
    ("working_directory_of_another_user", working_directory_of_another_user),
    ("a_user_may_open_its_stdout_again", a_user_may_open_its_stdout_again),
];

const STATUS: [&str; 2] = ["/bin/cat", "/proc/self/status"];

fn ids(status: &str) -> (String, String, String) {
    (field(status, "Uid"), field(status, "Gid"), field(status, "Groups"))
}

fn four(number: u32) -> String {
    vec![number.to_string(); 4].join("\t")
}

fn a_user_by_number() {
    needs_root();
    let mut world = World::new();
    let mut launch = service(STATUS);
    conditions(&mut launch).identity = identity("12345");
    let status = world.run(launch.clone()).text();
    assert_eq!(ids(&status), (four(STRANGER), four(STRANGER), String::new()));
    assert_eq!(field(&status, "CapEff"), "0000000000000000");
    assert_eq!(field(&status, "CapPrm"), "0000000000000000");

    launch.argv = shell("echo $HOME $USER $LOGNAME").argv;
    assert_eq!(world.run(launch.clone()).text(), "/ 12345 12345\n");
    conditions(&mut launch).env = vec![("HOME".into(), tinysup::event::Secret::new("/data"))];
    assert_eq!(world.run(launch).text(), "/data 12345 12345\n");
}

fn a_user_by_name() {
    needs_root();
    scene::own_mounts();
    let scratch = scene::Scratch::new();
    let passwd = scratch.file("passwd", 0o644, b"root:x:0:0:::\napp:x:1000:1001::/srv/app:/bin/sh\n");
    let group = scratch.file("group", 0o644, b"app:x:1001:\nweb:x:33:app\nlog:x:44:root,app\n");
    scene::mount(&passwd, "/etc/passwd", "", libc::MS_BIND);
    scene::mount(&group, "/etc/group", "", libc::MS_BIND);
    let mut world = World::new();
    let mut launch = service(STATUS);
    for (user, group, gid) in
        [("app", None, 1001), ("app", Some("web"), 33), ("1000", None, 1001), ("app", Some("7"), 7)]
    {
        conditions(&mut launch).identity = Identity { group: group.map(str::to_owned), ..identity(user) };
        let status = world.run(launch.clone()).text();
        assert_eq!(ids(&status), (four(1000), four(gid), "33 44".to_owned()), "{user}");
    }
    launch.argv = shell("echo $HOME $USER $LOGNAME").argv;
    assert_eq!(world.run(launch).text(), "/srv/app app app\n");
}

fn groups_by_name_and_number() {
    needs_root();
    let mut world = World::new();
    let mut launch = service(STATUS);
    conditions(&mut launch).identity = Identity {
        groups: Some(vec!["7".into(), "root".into()]),
        group: Some("9".into()),
        ..identity("12345")
    };
    assert_eq!(ids(&world.run(launch.clone()).text()), (four(STRANGER), four(9), "0 7".to_owned()));
    conditions(&mut launch).identity = Identity { group: Some("9".into()), ..Identity::default() };
    let status = world.run(launch).text();
    assert_eq!((field(&status, "Uid"), field(&status, "Gid")), (four(0), four(9)));
}

fn our_own_user_needs_no_privilege() {
    scene::as_stranger();
    let mut world = World::new();
    let mut launch = service(STATUS);
    for group in [None, Some("12345".to_owned())] {
        conditions(&mut launch).identity = Identity { group, ..identity("12345") };
        assert_eq!(ids(&world.run(launch.clone()).text()), (four(STRANGER), four(STRANGER), String::new()));
    }
    conditions(&mut launch).identity = Identity { groups: Some(vec![]), ..identity("12345") };
    assert!(world.run(launch.clone()).executed);
    conditions(&mut launch).attributes.capabilities = Some(vec![]);
    assert!(matches!(world.cannot(launch.clone()), StartError::Other { .. }));
    conditions(&mut launch).attributes.no_new_privileges = true; // then nothing can come back, and the bounding set does not matter
    assert!(world.run(launch).executed);
}

fn another_user_needs_privilege() {
    scene::as_stranger();
    let mut world = World::new();
    let mut launch = service(STATUS);
    for (user, uid) in [("0", 0), ("54321", 54321)] {
        conditions(&mut launch).identity = identity(user);
        let expected = StartError::CannotSwitchUser {
            user: user.into(),
            uid,
            own_uid: STRANGER,
            reason: "Operation not permitted".into(),
        };
        assert_eq!(world.cannot(launch.clone()), expected);
    }
    conditions(&mut launch).identity = Identity { groups: Some(vec!["5".into()]), ..identity("12345") };
    assert!(matches!(world.cannot(launch), StartError::CannotSwitchUser { uid: STRANGER, .. }));
}

fn unknown_users_and_groups() {
    let mut world = World::new();
    let mut launch = service(STATUS);
    conditions(&mut launch).identity = identity("nobody-has-this-name");
    assert_eq!(
        world.cannot(launch.clone()),
        StartError::UnknownUser { name: "nobody-has-this-name".into(), passwd: true }
    );
    conditions(&mut launch).identity =
        Identity { group: Some("nobody-has-this-name".into()), ..identity("0") };
    assert_eq!(
        world.cannot(launch),
        StartError::UnknownGroup { name: "nobody-has-this-name".into(), group: true }
    );
}

const NET_BIND_SERVICE: u8 = 10;
const ONLY_THAT: &str = "0000000000000400";
const NONE: &str = "0000000000000000";
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn no_capabilities() {
    needs_root();
    let mut world = World::new();
    let mut launch = service(STATUS);
    conditions(&mut launch).attributes.capabilities = Some(vec![]);
    for user in [None, Some("12345")] {
        conditions(&mut launch).identity = Identity { user: user.map(Into::into), ..Identity::default() };
        let status = world.run(launch.clone()).text();
        assert_eq!(SETS.map(|set| field(&status, set)), [NONE; 5], "{user:?}");
    }
}

fn one_capability_for_a_user() {
    needs_root();
    let mut world = World::new();
    let mut launch = service(STATUS);
    conditions(&mut launch).attributes.capabilities = Some(vec![NET_BIND_SERVICE]);
    conditions(&mut launch).identity = identity("12345");
    let status = world.run(launch).text();
    assert_eq!(SETS.map(|set| field(&status, set)), [ONLY_THAT; 5]);
    assert_eq!(field(&status, "Uid"), four(STRANGER));
}

fn one_capability_for_root() {
    needs_root();
    let mut world = World::new();
    let mut launch = service(STATUS);
    conditions(&mut launch).attributes.capabilities = Some(vec![NET_BIND_SERVICE]);
    let status = world.run(launch.clone()).text();
    assert_eq!(SETS.map(|set| field(&status, set)), [ONLY_THAT; 5]);

    scene::without_capability(NET_BIND_SERVICE.into());
    assert!(matches!(world.cannot(launch), StartError::Other { .. }));
}

fn no_new_privileges() {
    let mut world = World::new();
    let mut launch = service(STATUS);
    conditions(&mut launch).attributes.no_new_privileges = true;
    assert_eq!(field(&world.run(launch).text(), "NoNewPrivs"), "1");
}

fn umask_nice_oom_and_limits() {
    let mut world = World::new();
    let mut launch = shell(
        "umask; cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj; ulimit -S -c; ulimit -H -c; ulimit -n",
    );
    conditions(&mut launch).attributes.umask = Some(0o027);
    conditions(&mut launch).attributes.nice = Some(7);
    conditions(&mut launch).attributes.oom_score_adj = Some(300);
    conditions(&mut launch).attributes.rlimits =
        vec![Rlimit { resource: 4, soft: 0, hard: 1024 * 1024 }, Rlimit { resource: 7, soft: 50, hard: 60 }];
    let outcome = world.run(launch.clone());
    let text = outcome.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["0027", "7", "300"]);
    assert_eq!(lines[3], "0");
    assert!(matches!(lines[4], "1024" | "2048"), "{text}"); // blocks of 1024 or 512 bytes
    assert_eq!(lines[5], "50");
}

/// What is opened for it is opened before there is no room.
fn few_descriptors_leave_the_oom_score() {
    let mut world = World::new();
    let _held: Vec<_> = (0..40).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    let mut launch = service(["/bin/cat", "/proc/self/oom_score_adj"]);
    let without = world.run(launch.clone()).text();
    conditions(&mut launch).attributes.rlimits = vec![Rlimit { resource: 7, soft: 16, hard: 16 }];
    assert_eq!(world.run(launch.clone()).text(), without);
    conditions(&mut launch).attributes.oom_score_adj = Some(300);
    assert_eq!(world.run(launch).text(), "300\n");
}

fn attributes_that_need_privilege() {
    scene::as_stranger();
    let mut world = World::new();
    let mut launch = service(STATUS);
    conditions(&mut launch).attributes.rlimits = vec![Rlimit { resource: 7, soft: u64::MAX, hard: u64::MAX }];
    let error = world.cannot(launch.clone()).to_string();
    assert!(
        error.starts_with("cannot set the limit nofile to unlimited: Operation not permitted"),
        "{error}"
    );
    conditions(&mut launch).attributes.rlimits = vec![];
    conditions(&mut launch).attributes.nice = Some(-5);
    let error = world.cannot(launch.clone()).to_string();
    assert!(error.starts_with("cannot set the nice value to -5: Permission denied"), "{error}");
    conditions(&mut launch).attributes.nice = None;
    conditions(&mut launch).attributes.oom_score_adj = Some(-1000);
    let error = world.cannot(launch).to_string();
    assert!(error.starts_with("cannot set oom_score_adj to -1000: Permission denied"), "{error}");
}

fn the_open_files_limit_is_the_inherited_one() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    setrlimit(Resource::RLIMIT_NOFILE, 100, 200).unwrap();
    let mut world = World::new();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((200, 200)));
    assert_eq!(world.run(shell("ulimit -S -n; ulimit -H -n")).text(), "100\n200\n");
}

fn working_directory() {
    let scratch = scene::Scratch::new();
    let file = scratch.file("file", 0o644, b"");
    let mut world = World::new();
    let mut launch = service(["/bin/pwd"]);
    conditions(&mut launch).cwd = Some(scratch.path("").trim_end_matches('/').into());
    assert_eq!(world.run(launch.clone()).text().trim(), scratch.path("").trim_end_matches('/'));
    for (path, reason) in [(scratch.path("absent"), "No such file or directory"), (file, "Not a directory")] {
        conditions(&mut launch).cwd = Some(path.clone().into());
        let expected = StartError::WorkingDirectory { path, reason: reason.into() };
        assert_eq!(world.cannot(launch.clone()), expected);
    }
}

const DAC_OVERRIDE: u32 = 1;
const DAC_READ_SEARCH: u32 = 2;

/// Only its owner may enter it, and we may not because we have no capability to override that.
fn working_directory_of_another_user() {
    needs_root();
    let scratch = scene::Scratch::new();
    let directory = scratch.path("private");
    std::fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(STRANGER), Some(STRANGER)).unwrap();
    std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    scene::without_capability(DAC_OVERRIDE);
    scene::without_capability(DAC_READ_SEARCH);
    let mut world = World::new();
    let mut launch = service(["/bin/pwd"]);
    conditions(&mut launch).cwd = Some(directory.clone().into());
    assert!(matches!(world.cannot(launch.clone()), StartError::WorkingDirectory { .. }));
    conditions(&mut launch).identity = identity("12345");
    assert_eq!(world.run(launch).text().trim(), directory);
}

fn a_user_may_open_its_stdout_again() {
    needs_root();
    let mut world = World::new();
    let mut launch = shell("echo out >/proc/self/fd/1 && echo err >/proc/self/fd/2");
    conditions(&mut launch).identity = identity("12345");
    let outcome = world.run(launch);
    assert_eq!(outcome.status, Some(ExitStatus::Code(0)));
    assert_eq!((outcome.stdout.as_slice(), outcome.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
}
