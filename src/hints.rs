//! What experience says about well-known servers, by the name of their program: how they stay in the foreground, which signal
//! stops them well, and how it is known that they are ready. Pure tables. `check` reads them before a start; the core reads them to explain what went wrong.

use crate::gather::{holds, parted_at_last};
use crate::suggest::{answer, line_of};
use crate::texts::table;

/// How this program is kept in the foreground, as a sentence without a full stop; `None` for programs not known to leave it.
/// Only the last part of a path counts: `/usr/sbin/nginx` is `nginx`.
pub fn foreground(program: &str) -> Option<&'static str> {
    field(program, 0)
}

/// Whether this command line of a known program puts it into the background, as far as its arguments show. A program whose
/// configuration decides counts as leaving when it would by default.
#[inline(never)]
pub fn leaves(argv: &[&str]) -> bool {
    let Some((program, rest)) = argv.split_first() else { return false };
    let has = |wanted: &'static str| rest.iter().any(|arg| answer(wanted, arg).is_some());
    // A letter among bundled short options: -De has D and e.
    let has_letter = |letters: &[char]| {
        rest.iter().any(|arg| arg.starts_with('-') && !arg.starts_with("--") && arg.contains(letters))
    };
    let Some(known) = known(program) else { return false };
    match known {
        Known::Nginx => !rest.iter().any(|arg| holds(arg, "daemon off")) && !has("-t -T -v -V"),
        Known::PhpFpm => !has_letter(&['F']) && !has("--nodaemonize -t -v -i"),
        Known::Apache => {
            let stays = base_name(program).ends_with("-foreground");
            !stays && !rest.iter().any(|arg| holds(arg, "FOREGROUND")) && !has("-X -t -v")
        }
        Known::Redis => rest.windows(2).any(|pair| matches!(pair, ["--daemonize", "yes"])),
        Known::Postgres => match base_name(program) {
            "pg_ctl" => true,
            "pg_ctlcluster" => !has("--foreground"),
            _ => false,
        },
        Known::Mysql => has("--daemonize -D"),
        Known::Mongo => has("--fork"),
        Known::Sshd => !has_letter(&['D', 'd', 't', 'T']),
        Known::Cron => !has_letter(&['f', 'n']),
        Known::Rsyslog => !has_letter(&['n', 'N']),
        Known::SyslogNg => !has_letter(&['F']) && !has("--foreground"),
        Known::Haproxy => has_letter(&['D']),
        Known::Lighttpd => !has_letter(&['D', 't', 'p', 'v']),
        Known::Uwsgi => has("-d --daemonize --daemonize2"),
        Known::Memcached => has("-d --daemon"),
        Known::Dnsmasq => !has_letter(&['k', 'd']) && !has("--keep-in-foreground --no-daemon"),
        Known::Named => !has_letter(&['f', 'g']),
        Known::Squid => !has_letter(&['N']) && !has("--foreground"),
        Known::Proftpd | Known::Supervisord => !has("-n --nodaemon"),
        Known::Postfix => has("start"),
        Known::Exim => has("-bd"),
        Known::Dovecot | Known::Varnish => !has_letter(&['F']),
        Known::Pm2 => !has("--no-daemon"),
        Known::Celery => has("multi --detach -D"),
        Known::Gunicorn => has("--daemon -D"),
        Known::ServiceManager => true,
        // Only their configuration says.
        Known::Stunnel | Known::Vsftpd => false,
    }
}

/// Which stop signal serves this program better than SIGTERM and why, as a sentence without a full stop; `None` where SIGTERM
/// is right or the program is unknown.
pub fn stop_signal(program: &str) -> Option<&'static str> {
    field(program, 2)
}

/// By what it is known that this program can do its work, as a value of `ready`: a command of its own, or the port that it has when
/// nothing else is said. `None` for programs that nobody connects to, or that have no port of their own.
pub fn readiness(program: &str) -> Option<&'static str> {
    if base_name(program) == "redis-sentinel" { Some("\"tcp:26379\"") } else { field(program, 1) }
}

/// How it is found out that a program is ready, as far as that can be wrong for one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finds {
    /// It says so itself, by sd_notify(3).
    Notified,
    /// It takes connections.
    Connects,
}

/// Why this is no good way to learn that this known program is ready, as a sentence without a full stop; `None` where it is good or
/// the program is unknown.
#[inline(never)]
pub fn misleads(argv: &[&str], finds: Finds) -> Option<&'static str> {
    let (program, rest) = argv.split_first()?;
    let which = match (known(program)?, finds) {
        (Known::Postgres, Finds::Connects) => "postgres",
        (Known::Redis, Finds::Notified) if !rest.contains(&"--supervised") => "redis",
        (Known::Haproxy, Finds::Notified) if !rest.contains(&"-Ws") => "haproxy",
        (Known::Nginx, Finds::Notified) => "nginx",
        (Known::Memcached, Finds::Notified) => "memcached",
        _ => return None,
    };
    answer(table("# misleads"), which)
}

/// The last part of a path.
pub fn base_name(program: &str) -> &str {
    parted_at_last(program, b'/').map_or(program, |(_, name)| name)
}

/// The programs that are known here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Nginx,
    PhpFpm,
    Apache,
    Redis,
    Postgres,
    Mysql,
    Mongo,
    Sshd,
    Cron,
    Rsyslog,
    SyslogNg,
    Haproxy,
    Memcached,
    Dnsmasq,
    Named,
    Squid,
    Stunnel,
    Vsftpd,
    Proftpd,
    Postfix,
    Exim,
    Dovecot,
    Supervisord,
    Pm2,
    Varnish,
    Celery,
    Gunicorn,
    Lighttpd,
    Uwsgi,
    ServiceManager,
}

/// All of them.
const ALL: [Known; 30] = [
    Known::Nginx,
    Known::PhpFpm,
    Known::Apache,
    Known::Redis,
    Known::Postgres,
    Known::Mysql,
    Known::Mongo,
    Known::Sshd,
    Known::Cron,
    Known::Rsyslog,
    Known::SyslogNg,
    Known::Haproxy,
    Known::Memcached,
    Known::Dnsmasq,
    Known::Named,
    Known::Squid,
    Known::Stunnel,
    Known::Vsftpd,
    Known::Proftpd,
    Known::Postfix,
    Known::Exim,
    Known::Dovecot,
    Known::Supervisord,
    Known::Pm2,
    Known::Varnish,
    Known::Celery,
    Known::Gunicorn,
    Known::Lighttpd,
    Known::Uwsgi,
    Known::ServiceManager,
];

fn programs() -> &'static str {
    table("# programs")
}

fn known(program: &str) -> Option<Known> {
    let (number, _) = line(program)?;
    ALL.get(number).copied()
}

/// What is said of this program: how it is kept in the foreground, when it is ready, which signal it wants.
fn field(program: &str, number: usize) -> Option<&'static str> {
    line(program)?.1.split('|').nth(number).map(str::trim).filter(|field| !field.is_empty())
}

/// The line about this program in the table of those that are known, by all their names, in the order of [`Known`].
fn line(program: &str) -> Option<(usize, &'static str)> {
    let name = base_name(program);
    // Distributions add a version: php-fpm8.2, php-fpm82, php8.2-fpm.
    let name = if name.starts_with("php") && holds(name, "fpm") { "php-fpm" } else { name };
    line_of(programs(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_their_base_name() {
        for (program, part) in [
            ("nginx", "daemon off;"),
            ("/usr/sbin/nginx", "daemon off;"),
            ("php-fpm8.2", "php-fpm -F"),
            ("/usr/sbin/php-fpm82", "php-fpm -F"),
            ("apache2ctl", "-DFOREGROUND"),
            ("pg_ctl", "without pg_ctl"),
            ("systemctl", "service manager"),
        ] {
            assert!(foreground(program).is_some_and(|text| text.contains(part)), "{program}");
        }
        for program in ["", "/", "nginx/", "my-nginx", "php", "sleep"] {
            assert_eq!(foreground(program), None, "{program}");
        }
    }

    #[test]
    fn each_line_is_where_its_program_is() {
        let expected = [
            ("nginx", Known::Nginx),
            ("php-fpm", Known::PhpFpm),
            ("httpd", Known::Apache),
            ("redis-server", Known::Redis),
            ("postgres", Known::Postgres),
            ("mysqld", Known::Mysql),
            ("mongod", Known::Mongo),
            ("sshd", Known::Sshd),
            ("cron", Known::Cron),
            ("rsyslogd", Known::Rsyslog),
            ("syslog-ng", Known::SyslogNg),
            ("haproxy", Known::Haproxy),
            ("memcached", Known::Memcached),
            ("dnsmasq", Known::Dnsmasq),
            ("named", Known::Named),
            ("squid", Known::Squid),
            ("stunnel", Known::Stunnel),
            ("vsftpd", Known::Vsftpd),
            ("proftpd", Known::Proftpd),
            ("postfix", Known::Postfix),
            ("exim", Known::Exim),
            ("dovecot", Known::Dovecot),
            ("supervisord", Known::Supervisord),
            ("pm2", Known::Pm2),
            ("varnishd", Known::Varnish),
            ("celery", Known::Celery),
            ("gunicorn", Known::Gunicorn),
            ("lighttpd", Known::Lighttpd),
            ("uwsgi", Known::Uwsgi),
            ("systemctl", Known::ServiceManager),
        ];
        assert_eq!(programs().lines().count(), expected.len());
        for (name, program) in expected {
            assert!(known(name) == Some(program), "{name}");
        }
    }

    #[test]
    fn arguments_show_who_leaves() {
        for (command, expected) in [
            ("nginx", true),
            ("redis-server /etc/redis.conf", false),
            ("redis-server --daemonize yes", true),
            ("php-fpm8.2", true),
            ("php-fpm8.2 -RF", false),
            ("php-fpm --nodaemonize", false),
            ("apache2ctl -D FOREGROUND", false),
            ("httpd", true),
            ("httpd-foreground", false),
            ("/usr/local/bin/apache2-foreground", false),
            ("/usr/sbin/sshd -De", false),
            ("sshd", true),
            ("cron -f", false),
            ("cron", true),
            ("crond -l 2", true),
            ("rsyslogd -n", false),
            ("pg_ctl start", true),
            ("postgres -D /data", false),
            ("service nginx start", true),
            ("lighttpd -f /etc/lighttpd.conf", true),
            ("lighttpd -D -f /etc/lighttpd.conf", false),
            ("gunicorn -D app:app", true),
            ("gunicorn app:app", false),
            ("mysqld_safe", false),
            ("uwsgi --ini app.ini", false),
            ("uwsgi --ini app.ini --daemonize /var/log/uwsgi.log", true),
            ("sleep 1", false),
            ("", false),
        ] {
            let argv: Vec<&str> = command.split_whitespace().collect();
            assert_eq!(leaves(&argv), expected, "{command}");
        }
        assert!(!leaves(&["nginx", "-g", "daemon off;"]));
    }

    #[test]
    fn better_stop_signals_are_named_in_their_sentence() {
        for (program, signal) in [
            ("nginx", "SIGQUIT"),
            ("php-fpm", "SIGQUIT"),
            ("httpd", "SIGWINCH"),
            ("apache2-foreground", "SIGWINCH"),
            ("haproxy", "SIGUSR1"),
            ("lighttpd", "SIGINT"),
            ("squid", "SIGINT"),
            ("uwsgi_python3", "SIGINT"),
            ("/usr/lib/postgresql/16/bin/postgres", "SIGINT"),
        ] {
            assert!(
                stop_signal(program)
                    .is_some_and(|text| text.contains(&format!("stop_signal = \"{signal}\"")))
            );
        }
        assert_eq!(stop_signal("redis-server"), None);
    }

    #[test]
    fn what_misleads_about_readiness_is_known() {
        for (command, finds, part) in [
            ("/usr/lib/postgresql/15/bin/postgres -D /data", Finds::Connects, Some("while it recovers")),
            ("postgres -D /data", Finds::Notified, None),
            ("redis-server", Finds::Notified, Some("--supervised systemd")),
            ("redis-server /etc/redis.conf --supervised systemd", Finds::Notified, None),
            ("redis-server", Finds::Connects, None),
            ("haproxy -db -f x", Finds::Notified, Some("-Ws")),
            ("haproxy -Ws -f x", Finds::Notified, None),
            ("nginx", Finds::Notified, Some("does not speak")),
            ("nginx", Finds::Connects, None),
            ("php-fpm8.2 -F", Finds::Notified, None),
            ("node server.js", Finds::Notified, None),
            ("", Finds::Notified, None),
        ] {
            let argv: Vec<&str> = command.split_whitespace().collect();
            let told = misleads(&argv, finds);
            assert_eq!(told.is_some(), part.is_some(), "{command}: {told:?}");
            assert!(
                part.is_none_or(|part| told.is_some_and(|told| told.contains(part))),
                "{command}: {told:?}"
            );
        }
    }

    #[test]
    fn readiness_is_known_where_there_is_one_port() {
        for (program, test) in [
            ("/usr/lib/postgresql/16/bin/postgres", Some("[\"pg_isready\", \"-q\"]")),
            ("redis-server", Some("\"tcp:6379\"")),
            ("redis-sentinel", Some("\"tcp:26379\"")),
            ("php-fpm8.2", Some("\"tcp:9000\"")),
            ("haproxy", None),
            ("node", None),
        ] {
            assert_eq!(readiness(program), test, "{program}");
        }
    }
}
