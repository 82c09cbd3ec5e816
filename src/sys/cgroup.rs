//! Finds the cgroup in which our memory is accounted, from what the kernel says of mounts and memberships (cgroups(7),
//! cgroup_namespaces(7)), never from what a directory looks like; and reads and writes its files. What they mean for us is in
//! `memory`, what we make there in `cells`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::statfs;

use super::call::{self, c_path};
use super::{descriptors, procfs};
use crate::event::Controller;
use crate::gather::Gather;
use crate::sorted::sort;
use crate::units::{parse_number, parse_signed};

/// What statfs(2) says of the file system (linux/magic.h); not of the same type in all C libraries.
const V1_MAGIC: u32 = 0x0027_e0eb;
const V2_MAGIC: u32 = 0x6367_7270;

/// No more is read of the list of mounts: some thousands of them.
const MOUNTS_MAX_BYTES: usize = 2 << 20;

/// No more is read of one file of a cgroup; the longest is the list of processes.
const FILE_MAX_BYTES: usize = 256 << 10;

/// The most levels of cgroups that are looked at on the way up.
const LEVELS_MAX: usize = 64;

/// Into this one we move ourselves when cgroups are to be made beside us: cgroup v2 allows processes only where no controller is passed on.
pub const LEAF: &str = "tinysup.init";

/// The cgroup of the container, as far as we can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Of which kind: never `None`.
    pub controller: Controller,
    /// Its directory.
    pub path: PathBuf,
    /// The directory that is mounted: as far up as we can see.
    pub top: PathBuf,
    /// Whether it may be written to as far as the mount is concerned.
    pub writable: bool,
    /// Whether it is the root of all cgroups, which is not accounted like the others.
    pub root: bool,
    /// Whether it is our own; else its child has no accounting, and we are in that.
    pub own: bool,
}

/// Finds it; `None`: there is none that we can see.
pub fn find() -> Option<Group> {
    let mounts = read_at_most(Path::new("/proc/self/mountinfo"), MOUNTS_MAX_BYTES)?;
    let memberships = read_at_most(Path::new("/proc/self/cgroup"), FILE_MAX_BYTES).unwrap_or_default();
    candidates(&mounts, &memberships).into_iter().find_map(Candidate::look)
}

/// Where it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Of which kind.
    pub controller: Controller,
    /// The directory that is mounted.
    pub point: PathBuf,
    /// Our own below `point`; `None`: it is not said.
    pub below: Option<PathBuf>,
    /// Whether the mount may be written to.
    pub writable: bool,
}

/// All mounts that may have the memory controller, the best first: where it is part of cgroup v1, the other has it not; and of two at
/// one place, the later hides the earlier.
pub fn candidates(mounts: &[u8], memberships: &[u8]) -> Vec<Candidate> {
    let mut found: Vec<Candidate> =
        mounts.split(|byte| *byte == b'\n').filter_map(|line| candidate(line, memberships)).gather();
    found.reverse();
    let is_v1 = |candidate: &Candidate| candidate.controller == Controller::V1;
    sort(&mut found, |one, other| !is_v1(one) && is_v1(other));
    found
}

/// Reads a line of mountinfo (proc_pid_mountinfo(5)): `36 35 98:0 ROOT POINT OPTIONS [TAG…] - TYPE SOURCE OPTIONS`.
#[inline(never)]
fn candidate(line: &[u8], memberships: &[u8]) -> Option<Candidate> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').gather();
    let [_, _, _, root, point, options, rest @ ..] = fields.as_slice() else { return None };
    let end = rest.iter().position(|field| *field == b"-")?;
    let [kind, _, all_options @ ..] = rest.get(end + 1..)? else { return None };
    let all_options = all_options.first().copied().unwrap_or_default();
    let controller = match *kind {
        b"cgroup" if has_word(all_options, b"memory") => Controller::V1,
        b"cgroup2" => Controller::V2,
        _ => return None,
    };
    let root = PathBuf::from(unescape(root));
    Some(Candidate {
        controller,
        point: PathBuf::from(unescape(point)),
        below: membership(memberships, controller)
            .and_then(|own| Some(own.strip_prefix(&root).ok()?.to_owned()))
            .filter(|below| below.components().all(|part| matches!(part, Component::Normal(_)))),
        writable: !has_word(options, b"ro") && !has_word(all_options, b"ro"),
    })
}

/// Our cgroup in one hierarchy (cgroups(7)): `4:memory:/docker/ID`, or `0::/docker/ID` for v2.
fn membership(memberships: &[u8], controller: Controller) -> Option<&Path> {
    memberships.split(|byte| *byte == b'\n').find_map(|line| {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let this = match controller {
            Controller::V1 => has_word(controllers, b"memory"),
            Controller::V2 => number == b"0" && controllers.is_empty(),
            Controller::None => false,
        };
        this.then(|| Path::new(OsStr::from_bytes(path)))
    })
}

fn has_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|part| part == word)
}

/// Spaces and their like are written as backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (*first, after) {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
        }
    }
    OsString::from_vec(out)
}

impl Candidate {
    /// Whether it is there, and accounts for us.
    #[inline(never)]
    fn look(self) -> Option<Group> {
        let own = self.own_directory()?;
        let levels = own.ancestors().take(LEVELS_MAX).take_while(|level| level.starts_with(&self.point));
        let path = match self.controller {
            Controller::V1 => Some(own.as_path()).filter(|own| is_there(&own.join("memory.usage_in_bytes"))),
            Controller::V2 => levels.into_iter().find(|level| {
                read(&level.join("cgroup.controllers"))
                    .is_some_and(|controllers| controllers.split_whitespace().any(|word| word == "memory"))
            }),
            Controller::None => None,
        }?;
        // After a crash and a new start in the same place; it is all about the one above.
        let path = match path.parent() {
            Some(parent) if is_leaf(path) && parent.starts_with(&self.point) => parent,
            _ => path,
        };
        let root = match self.controller {
            Controller::V2 => !is_there(&path.join("cgroup.type")),
            Controller::V1 | Controller::None => false,
        };
        Some(Group {
            controller: self.controller,
            path: path.to_owned(),
            root,
            own: own.starts_with(path) && (own == path || is_leaf(&own)),
            writable: self.writable,
            top: self.point,
        })
    }

    /// The directory of our own cgroup. What is mounted may be another part of the hierarchy than what we are told, where somebody mixed
    /// namespaces; then it is ours if it says that we are in it.
    #[inline(never)]
    fn own_directory(&self) -> Option<PathBuf> {
        let below = self.below.iter().map(|below| {
            if below.as_os_str().is_empty() { self.point.clone() } else { self.point.join(below) }
        });
        let listed = || {
            let own = procfs::own_pid();
            Some(self.point.clone()).filter(|point| processes(point).is_some_and(|list| list.contains(&own)))
        };
        below
            .into_iter()
            .find(|path| self.is_cgroup(path))
            .or_else(listed)
            .filter(|path| self.is_cgroup(path))
    }

    fn is_cgroup(&self, path: &Path) -> bool {
        let magic = match self.controller {
            Controller::V1 => V1_MAGIC,
            Controller::V2 => V2_MAGIC,
            Controller::None => return false,
        };
        let found = c_path(path).and_then(|path| statfs(path.as_c_str()));
        found.is_ok_and(|found| u32::try_from(found.filesystem_type().0) == Ok(magic))
    }
}

/// Whether there is something at a path.
pub fn is_there(path: &Path) -> bool {
    call::status(path).is_ok()
}

fn is_leaf(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == LEAF)
}

impl Group {
    /// It and those above it, as far as they can be seen.
    pub fn levels(&self) -> impl Iterator<Item = &Path> {
        self.path.ancestors().take(LEVELS_MAX).take_while(|level| level.starts_with(&self.top))
    }
}

/// A file of a cgroup; `None` if it is not there, or not any more.
pub fn read(path: &Path) -> Option<String> {
    String::from_utf8(read_at_most(path, FILE_MAX_BYTES)?).ok()
}

fn read_at_most(path: &Path, at_most: usize) -> Option<Vec<u8>> {
    descriptors::contents(&call::open(path, libc::O_RDONLY).ok()?, at_most).ok()
}

/// A file with one number in it.
pub fn number(path: &Path) -> Option<u64> {
    one_number(&read(path)?)
}

/// The number that is all of a text.
pub fn one_number(text: &str) -> Option<u64> {
    parse_number(text.trim())
}

/// The number after a name, in a file with one of each a line.
pub fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| parse_number(line.strip_prefix(name)?.strip_prefix(' ')?.trim()))
}

/// The processes in a cgroup, in our numbers; 0 for one outside of our PID namespace.
pub fn processes(path: &Path) -> Option<Vec<i32>> {
    Some(numbers(&read(&path.join("cgroup.procs"))?))
}

/// The numbers in a text with one a line.
pub fn numbers(text: &str) -> Vec<i32> {
    text.lines().filter_map(parse_signed).gather()
}

/// Writes to a file of a cgroup, which must be there.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    Ok(call::write_all(open_to_write(path)?.as_fd(), text.as_bytes())?)
}

/// Opens a file of a cgroup to write to it.
pub fn open_to_write(path: &Path) -> io::Result<File> {
    Ok(call::open(path, libc::O_WRONLY | libc::O_NOFOLLOW)?)
}

/// Makes a cgroup. One that is there already is fine.
pub fn make(path: &Path) -> io::Result<()> {
    descriptors::make_directory(path, 0o777).map(drop)
}

/// Removes a cgroup in which nobody is, with those that somebody made below it.
pub fn remove(path: &Path) -> io::Result<()> {
    Ok(remove_below(path, LEVELS_MAX)?)
}

fn remove_below(path: &Path, levels: usize) -> nix::Result<()> {
    match call::remove_directory(path) {
        Err(Errno::EBUSY) if levels > 0 => {
            for name in call::names(path, usize::MAX)? {
                let below = path.join(name);
                if call::status_of_link(&below).is_ok_and(|there| call::kind(&there) == libc::S_IFDIR) {
                    remove_below(&below, levels - 1)?;
                }
            }
            call::remove_directory(path)
        }
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// A limit as it stands in a file: `None` for `max`, for the largest number that v1 knows, and for more than the machine has.
pub fn limit(text: &str, total: u64) -> Option<u64> {
    // Rounded down to pages of any size, what v1 writes for "no limit" is above this.
    const ABSURD: u64 = 1 << 62;
    let most = if total == 0 { ABSURD } else { total };
    parse_number(text.trim()).filter(|limit| *limit < most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounts: &str, memberships: &str, expected: &[(Controller, &str, Option<&str>, bool)]) {
        let found = candidates(mounts.as_bytes(), memberships.as_bytes());
        let found: Vec<_> = found
            .iter()
            .map(|found| {
                let below = found.below.as_deref().and_then(Path::to_str);
                (found.controller, found.point.to_str().unwrap(), below, found.writable)
            })
            .collect();
        assert_eq!(found, expected, "{mounts}");
    }

    #[test]
    fn docker_with_v1() {
        let id = "3ca1ab62b4";
        check(
            &format!(
                "720 719 0:66 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755,inode64\n\
                 721 720 0:29 /docker/{id} /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime master:11 - cgroup cgroup rw,xattr,name=systemd\n\
                 725 720 0:35 /docker/{id} /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:19 - cgroup cgroup rw,memory\n\
                 726 720 0:36 /docker/{id} /sys/fs/cgroup/cpu,cpuacct ro,relatime master:20 - cgroup cgroup rw,cpu,cpuacct\n"
            ),
            &format!(
                "12:cpu,cpuacct:/docker/{id}\n4:memory:/docker/{id}\n1:name=systemd:/docker/{id}\n0::/system.slice/containerd.service\n"
            ),
            &[(Controller::V1, "/sys/fs/cgroup/memory", Some(""), false)],
        );
    }

    #[test]
    fn docker_with_v2() {
        // Its own namespace, as is the default; and the host's.
        let line = "599 598 0:29 ROOT /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot\n";
        let expected = [(Controller::V2, "/sys/fs/cgroup", Some(""), false)];
        check(&line.replace("ROOT", "/"), "0::/\n", &expected);
        let scope = "/system.slice/docker-3ca1ab62b4.scope";
        check(&line.replace("ROOT", scope), &format!("0::{scope}\n"), &expected);
        // The host's whole hierarchy given to a container that has a namespace of its own: where we are in it is not said.
        check(&line.replace("ROOT", "/../.."), "0::/\n", &[(Controller::V2, "/sys/fs/cgroup", None, false)]);
        // And to one that has not.
        check(
            &line.replace("ROOT", "/").replace(" ro,", " rw,"),
            &format!("0::{scope}\n"),
            &[(Controller::V2, "/sys/fs/cgroup", Some(&scope[1..]), true)],
        );
    }

    #[test]
    fn kubernetes_with_v2() {
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod4f1c.slice/cri-containerd-9d2e.scope";
        let mounts = "1744 1743 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw\n";
        check(mounts, "0::/\n", &[(Controller::V2, "/sys/fs/cgroup", Some(""), false)]);
        // shareProcessNamespace and a sidecar's view: a path that is not below what is mounted.
        check(
            &mounts.replace(" / ", &format!(" {pod} ")),
            "0::/../cri-containerd-77.scope\n",
            &[(Controller::V2, "/sys/fs/cgroup", None, false)],
        );
        check(mounts, "0::/../../outside\n", &[(Controller::V2, "/sys/fs/cgroup", None, false)]);
    }

    #[test]
    fn a_machine_with_systemd() {
        check(
            "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
            "0::/user.slice/user-1000.slice/session-3.scope\n",
            &[(Controller::V2, "/sys/fs/cgroup", Some("user.slice/user-1000.slice/session-3.scope"), true)],
        );
        // systemd-nspawn: the container's own part is mounted writable over the tree, which is not.
        check(
            "90 80 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw\n\
             91 90 0:28 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw\n",
            "0::/payload\n",
            &[
                (Controller::V2, "/sys/fs/cgroup", Some("payload"), true),
                (Controller::V2, "/sys/fs/cgroup", Some("payload"), false),
            ],
        );
    }

    #[test]
    fn hybrid_has_it_in_v1() {
        check(
            "30 23 0:26 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate\n\
             35 23 0:33 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,memory\n",
            "4:memory:/user.slice\n1:name=systemd:/user.slice\n0::/user.slice/user-0.slice\n",
            &[
                (Controller::V1, "/sys/fs/cgroup/memory", Some("user.slice"), true),
                (Controller::V2, "/sys/fs/cgroup/unified", Some("user.slice/user-0.slice"), true),
            ],
        );
    }

    #[test]
    fn nothing_to_be_seen() {
        // gVisor without cgroups; a tmpfs that only looks like it; a broken list.
        for mounts in [
            "",
            "1 0 0:1 / / rw - 9p none rw,trans=fd\n2 1 0:2 / /proc rw - proc none rw\n",
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs cgroup rw,mode=755\n",
            "36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n",
            "36 31 0:33 / /sys/fs/cgroup/memory rw\n",
            "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup\n",
            "- - - - - - -\n\n \n",
        ] {
            check(mounts, "4:memory:/\n", &[]);
        }
    }

    #[test]
    fn memberships_that_make_no_sense_are_none() {
        let mounts = "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        for memberships in ["", "garbage\n::\n", "4:cpu:/x\n0::/y\n", "4:memory\n"] {
            check(mounts, memberships, &[(Controller::V1, "/sys/fs/cgroup/memory", None, true)]);
        }
        // Without a root, the whole path would be below the mount, and lead out of it.
        let mounts = mounts.replace(" / ", "  ");
        check(&mounts, "4:memory:/x\n", &[(Controller::V1, "/sys/fs/cgroup/memory", None, true)]);
    }

    #[test]
    fn paths_may_hold_anything() {
        check(
            "36 31 0:33 /a\\040b /mnt/c\\134d\\011\\9 rw - cgroup cgroup rw,memory,use_hierarchy\n",
            "4:hugetlb,memory:/a b/e:f\n",
            &[(Controller::V1, "/mnt/c\\d\t\\9", Some("e:f"), true)],
        );
    }

    #[test]
    fn limits_are_below_what_there_is() {
        const TOTAL: u64 = 8 << 30;
        for (text, total, expected) in [
            ("max\n", TOTAL, None),
            ("67108864\n", TOTAL, Some(64 << 20)),
            ("0\n", TOTAL, Some(0)),
            ("8589934592\n", TOTAL, None),
            ("8589934591\n", TOTAL, Some(TOTAL - 1)),
            ("9223372036854771712\n", TOTAL, None), // v1 with pages of 4 KiB
            ("9223372036854710272\n", 0, None),     // and of 64 KiB
            ("18446744073709551615\n", 0, None),
            ("99999999999999999999\n", TOTAL, None),
            ("1073741824", 0, Some(1 << 30)),
            ("-1\n", TOTAL, None),
            ("", TOTAL, None),
        ] {
            assert_eq!(limit(text, total), expected, "{text} of {total}");
        }
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "total_inactive_file 7\ninactive_file 4096\noom 3\noom_kill 2\nbad x\n";
        for (name, expected) in [
            ("inactive_file", Some(4096)),
            ("oom_kill", Some(2)),
            ("oom", Some(3)),
            ("bad", None),
            ("o", None),
        ] {
            assert_eq!(field(text, name), expected, "{name}");
        }
    }
}
