#!/bin/sh
# A program that knows best itself when it is ready, and says so as it would to systemd.
set -e
echo "preparing"
systemd-notify --status="three jobs wait" --ready
echo "announced"
exec sleep infinity
