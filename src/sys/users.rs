//! Users and groups, read from /etc/passwd and /etc/group directly: never through the C library's name services, which may
//! ask the network. A number is a number and needs no entry.

#![expect(unsafe_code, reason = "asking for all three of our own user and group numbers")]

use std::path::Path;

use super::child::Switch;
use super::descriptors;
use crate::event::{Identity, StartError};
use crate::gather::Gather;
use crate::units::{is, parse_number};

/// No more than this much of either file is read.
const FILE_MAX_BYTES: usize = 4 << 20;

/// A user and groups, in numbers, and what the environment says about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The user; `None`: ours.
    pub uid: Option<u32>,
    /// The group; `None`: ours.
    pub gid: Option<u32>,
    /// The supplementary groups; `None`: ours.
    pub groups: Option<Vec<u32>>,
    /// Whether the configuration names these groups.
    groups_named: bool,
    /// The login name, or the number where it has none, and the home; `None` if no user is named.
    pub login: Option<(String, Vec<u8>)>,
}

/// The two files.
#[derive(Debug, Default)]
pub struct Files {
    /// /etc/passwd, if it can be read.
    pub passwd: Option<Vec<u8>>,
    /// /etc/group, if it can be read.
    pub group: Option<Vec<u8>>,
}

/// Looks everything up.
pub fn resolve(identity: &Identity) -> Result<Resolved, Box<StartError>> {
    if identity.user.is_none() && identity.group.is_none() && identity.groups.is_none() {
        return Ok(Resolved { uid: None, gid: None, groups: None, groups_named: false, login: None });
    }
    Files { passwd: read("/etc/passwd"), group: read("/etc/group") }.resolve(identity)
}

fn read(path: &str) -> Option<Vec<u8>> {
    let read =
        descriptors::open_file(Path::new(path)).and_then(|file| descriptors::contents(&file, FILE_MAX_BYTES));
    match read {
        Ok(text) => Some(text),
        Err(error) => {
            if !is(&error, &[libc::ENOENT]) {
                say!(Warn, "cannot read {path}: {}", super::call::reason(&error));
            }
            None
        }
    }
}

impl Files {
    /// Looks everything up in them.
    ///
    /// # Errors
    /// Who is in neither.
    pub fn resolve(&self, identity: &Identity) -> Result<Resolved, Box<StartError>> {
        let (user, group) = (identity.user.as_deref(), identity.group.as_deref());
        let account = user.map(|user| self.account(user)).transpose()?;
        let group = group.map(|group| self.group(group)).transpose()?;
        let groups = match (&identity.groups, &account) {
            (Some(names), _) => {
                let mut groups = Vec::new();
                for name in names {
                    groups.push(self.group(name)?);
                }
                Some(groups)
            }
            (None, Some(account)) => Some(self.groups_of(account)),
            (None, None) => None,
        };
        Ok(Resolved {
            uid: account.as_ref().map(|account| account.uid),
            gid: group.or(account.as_ref().map(|account| account.gid)),
            groups,
            groups_named: identity.groups.is_some(),
            login: account
                .map(|account| (account.name.unwrap_or_else(|| account.uid.to_string()), account.home)),
        })
    }

    #[inline(never)]
    fn account(&self, user: &str) -> Result<Account, Box<StartError>> {
        if is_number(user) {
            let uid = number(user).ok_or_else(|| no_number("user", user))?;
            return Ok(self.accounts().find(|account| account.uid == uid).unwrap_or(Account {
                name: None,
                uid,
                gid: uid,
                home: b"/".to_vec(),
            }));
        }
        self.accounts().find(|account| account.name.as_deref() == Some(user)).ok_or_else(|| {
            StartError::UnknownUser { name: user.to_owned(), passwd: self.passwd.is_some() }.into()
        })
    }

    fn accounts(&self) -> impl Iterator<Item = Account> {
        lines(self.passwd.as_deref()).filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let name = str::from_utf8(fields.next()?).ok()?;
            let uid = number(str::from_utf8(fields.nth(1)?).ok()?)?;
            let gid = number(str::from_utf8(fields.next()?).ok()?)?;
            let home = fields.nth(1).filter(|home| !home.is_empty() && !home.contains(&0)).unwrap_or(b"/");
            Some(Account { name: Some(name.to_owned()), uid, gid, home: home.to_vec() })
        })
    }

    fn group(&self, group: &str) -> Result<u32, Box<StartError>> {
        if is_number(group) {
            return number(group).ok_or_else(|| no_number("group", group));
        }
        self.groups().find(|entry| entry.name == group.as_bytes()).map(|entry| entry.gid).ok_or_else(|| {
            StartError::UnknownGroup { name: group.to_owned(), group: self.group.is_some() }.into()
        })
    }

    #[inline(never)]
    fn groups_of(&self, account: &Account) -> Vec<u32> {
        let Some(name) = &account.name else { return Vec::new() };
        self.groups()
            .filter(|group| group.members.split(|byte| *byte == b',').any(|member| member == name.as_bytes()))
            .map(|group| group.gid)
            .gather()
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        lines(self.group.as_deref()).filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let name = fields.next()?;
            let gid = number(str::from_utf8(fields.nth(1)?).ok()?)?;
            Some(Group { name, gid, members: fields.next().unwrap_or_default() })
        })
    }
}

struct Account {
    name: Option<String>,
    uid: u32,
    gid: u32,
    home: Vec<u8>,
}

struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

fn lines(text: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    text.unwrap_or_default().split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The largest number means "leave it as it is" to the kernel, so nobody can have it.
fn number(text: &str) -> Option<u32> {
    if !is_number(text) {
        return None;
    }
    parse_number(text).filter(|number| *number != u32::MAX)
}

#[expect(clippy::unnecessary_box_returns, reason = "as all that may fail at a start hands it on")]
fn no_number(kind: &str, text: &str) -> Box<StartError> {
    Box::new(StartError::Other {
        what: format!("use the {kind} number {text}"),
        reason: "numbers go from 0 to 4294967294".to_owned(),
    })
}

impl Resolved {
    /// What of this is to be changed, given who we are. Nothing that is right already is touched, for it may need a
    /// privilege that we do not have.
    #[inline(never)]
    pub fn switch(&self) -> Switch {
        let same_user = self.uid.is_none_or(|uid| ids(Kind::User) == [uid; 3]);
        let same_group = self.gid.is_none_or(|gid| ids(Kind::Group) == [gid; 3]);
        let groups = self.groups.as_ref().filter(|wanted| !same_set(wanted, &own_groups()));
        Switch {
            groups: groups.cloned(),
            groups_optional: same_user && !self.groups_named,
            gid: self.gid.filter(|_| !same_group),
            uid: self.uid.filter(|_| !same_user),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    User,
    Group,
}

/// Our real, effective and saved number.
fn ids(kind: Kind) -> [u32; 3] {
    let [mut real, mut effective, mut saved] = [u32::MAX; 3];
    // SAFETY: both write three numbers that live here, and cannot fail.
    unsafe {
        match kind {
            Kind::User => libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved),
            Kind::Group => libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved),
        };
    }
    [real, effective, saved]
}

/// nix asks sysconf(3) for the most there can be.
fn own_groups() -> Vec<u32> {
    // SAFETY: without room the call only says how many there are; then it writes no more than there is room for.
    unsafe {
        let count = libc::getgroups(0, std::ptr::null_mut());
        let mut groups = vec![0; usize::try_from(count).unwrap_or(0)];
        let written = libc::getgroups(count, groups.as_mut_ptr());
        groups.truncate(usize::try_from(written).unwrap_or(0));
        groups
    }
}

fn same_set(left: &[u32], right: &[u32]) -> bool {
    left.iter().all(|gid| right.contains(gid)) && right.iter().all(|gid| left.contains(gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\n:::\nbroken\napp:x:1000:1001::/srv/app:/bin/sh\r\n\
                          4711:x:12:12::/named-like-a-number:\nhomeless:x:5:5:::\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:other,app\nadm:x:4:apple\nlog:x:44:app\nbad:x:x:app\n";

    fn files() -> Files {
        Files { passwd: Some(PASSWD.into()), group: Some(GROUP.into()) }
    }

    fn identity(user: &str, group: &str, groups: Option<&[&str]>) -> Identity {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Identity {
            user: some(user),
            group: some(group),
            groups: groups.map(|groups| groups.iter().map(|&group| group.to_owned()).collect()),
        }
    }

    #[test]
    fn users_become_numbers() {
        type Row = (
            &'static str,
            &'static str,
            Option<&'static [&'static str]>,
            (u32, u32, &'static [u32], &'static str, &'static str),
        );
        let rows: [Row; 8] = [
            ("app", "", None, (1000, 1001, &[33, 44], "app", "/srv/app")),
            ("1000", "", None, (1000, 1001, &[33, 44], "app", "/srv/app")),
            ("app", "www-data", None, (1000, 33, &[33, 44], "app", "/srv/app")),
            ("app", "", Some(&["adm", "7"]), (1000, 1001, &[4, 7], "app", "/srv/app")),
            ("12345", "", None, (12345, 12345, &[], "12345", "/")),
            ("12345", "99", Some(&[]), (12345, 99, &[], "12345", "/")),
            ("4711", "", None, (4711, 4711, &[], "4711", "/")),
            ("homeless", "", None, (5, 5, &[], "homeless", "/")),
        ];
        for (user, group, groups, (uid, gid, expected, name, home)) in rows {
            let found = files().resolve(&identity(user, group, groups)).unwrap();
            assert_eq!((found.uid, found.gid), (Some(uid), Some(gid)), "{user} {group}");
            assert_eq!(found.groups.as_deref(), Some(expected), "{user} {group}");
            assert_eq!(found.login, Some((name.to_owned(), home.into())), "{user} {group}");
        }
    }

    #[test]
    fn a_group_alone_leaves_the_user() {
        let found = files().resolve(&identity("", "adm", None)).unwrap();
        assert_eq!((found.uid, found.gid, found.groups, found.login), (None, Some(4), None, None));
    }

    #[test]
    fn unknown_names_are_told() {
        let resolve = |files: Files, identity: Identity| files.resolve(&identity).map_err(|error| *error);
        let unknown = |name: &str, passwd| StartError::UnknownUser { name: name.into(), passwd };
        assert_eq!(resolve(files(), identity("nobody", "", None)), Err(unknown("nobody", true)));
        assert_eq!(resolve(Files::default(), identity("app", "", None)), Err(unknown("app", false)));
        assert_eq!(
            resolve(files(), identity("app", "nogroup", None)),
            Err(StartError::UnknownGroup { name: "nogroup".into(), group: true })
        );
        for user in ["4294967295", "99999999999999999999"] {
            assert!(
                matches!(resolve(files(), identity(user, "", None)), Err(StartError::Other { .. })),
                "{user}"
            );
        }
        for user in ["", "-1", "+1", "app ", "#"] {
            let identity = Identity { user: Some(user.into()), ..Identity::default() };
            assert_eq!(resolve(files(), identity), Err(unknown(user, true)), "{user:?}");
        }
    }

    #[test]
    fn numbers_need_no_files() {
        let found = Files::default().resolve(&identity("1000", "1000", Some(&["5"]))).unwrap();
        assert_eq!((found.uid, found.gid, found.groups), (Some(1000), Some(1000), Some(vec![5])));
    }
}
