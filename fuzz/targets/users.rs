//! Users and groups, looked up in files that an image may fill with anything, against a plain reading of the same files. The bytes:
//! user, group, supplementary groups, /etc/passwd, /etc/group, with NUL between.

use tinysup::event::Identity;
use tinysup::sys::fuzzing::Files;

pub fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(5, |byte| *byte == 0);
    let mut text = || String::from_utf8(parts.next()?.to_vec()).ok();
    let (Some(user), Some(group), Some(groups)) = (text(), text(), text()) else { return };
    let passwd = parts.next().map(<[u8]>::to_vec);
    let group_file = parts.next().map(<[u8]>::to_vec);
    let some = |text: String| (!text.is_empty()).then_some(text);
    let identity = Identity {
        user: some(user),
        group: some(group),
        groups: some(groups).map(|groups| groups.split(',').map(str::to_owned).collect()),
    };
    let files = Files { passwd, group: group_file };
    let found = files.resolve(&identity).ok();
    let expected = plainly(&identity, &rows(files.passwd.as_deref()), &rows(files.group.as_deref()));
    let shown = found.as_ref().map(|found| (found.uid, found.gid, found.groups.clone()));
    assert_eq!(shown, expected);
    if let Some((name, home)) = found.and_then(|found| found.login) {
        assert!(!home.is_empty() && !home.contains(&0) && !name.contains(['\n', '\0']));
    }
}

type Ids = (Option<u32>, Option<u32>, Option<Vec<u32>>);
type Row<'a> = Vec<&'a [u8]>;

fn rows(file: Option<&[u8]>) -> Vec<Row<'_>> {
    let lines = file.unwrap_or_default().split(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).split(|byte| *byte == b':').collect()).collect()
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number: u32 = std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()?;
    (number < u32::MAX).then_some(number)
}

/// `None` where anything is unknown.
fn plainly(identity: &Identity, passwd: &[Row<'_>], group: &[Row<'_>]) -> Option<Ids> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let accounts: Vec<(&str, u32, u32)> = passwd
        .iter()
        .filter_map(|row| {
            Some((std::str::from_utf8(row[0]).ok()?, number(row.get(2)?)?, number(row.get(3)?)?))
        })
        .collect();
    let groups: Vec<(&[u8], u32, &[u8])> = group
        .iter()
        .filter_map(|row| Some((row[0], number(row.get(2)?)?, row.get(3).copied().unwrap_or_default())))
        .collect();
    let gid_of = |name: &str| match digits(name) {
        true => number(name.as_bytes()),
        false => groups.iter().find(|(known, ..)| *known == name.as_bytes()).map(|(_, gid, _)| *gid),
    };
    let account = match &identity.user {
        None => None,
        Some(user) if digits(user) => {
            let uid = number(user.as_bytes())?;
            Some(
                accounts
                    .iter()
                    .find(|(_, known, _)| *known == uid)
                    .map_or((None, uid, uid), |(name, uid, gid)| (Some(*name), *uid, *gid)),
            )
        }
        Some(user) => accounts
            .iter()
            .find(|(name, ..)| name == user)
            .map(|(name, uid, gid)| Some((Some(*name), *uid, *gid)))?,
    };
    let gid = match &identity.group {
        Some(name) => Some(gid_of(name)?),
        None => account.map(|(_, _, gid)| gid),
    };
    let supplementary = match (&identity.groups, account) {
        (Some(names), _) => Some(names.iter().map(|name| gid_of(name)).collect::<Option<Vec<u32>>>()?),
        (None, Some((Some(name), ..))) => Some(
            groups
                .iter()
                .filter(|(_, _, members)| {
                    members.split(|byte| *byte == b',').any(|member| member == name.as_bytes())
                })
                .map(|(_, gid, _)| *gid)
                .collect(),
        ),
        (None, Some((None, ..))) => Some(Vec::new()),
        (None, None) => None,
    };
    Some((account.map(|(_, uid, _)| uid), gid, supplementary))
}
