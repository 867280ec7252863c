#!/bin/sh
# usage: sh FILE ACCOUNT USER
set -eu
account=${1:?the account}
user=${2:?the user}
# Inspects calc.Calc with `nats micro`.
nsc add user --account "$account" --name "$user" \
  --allow-pub '$SRV.PING' \
  --allow-pub '$SRV.PING.calc' \
  --allow-pub '$SRV.PING.calc.*' \
  --allow-pub '$SRV.INFO' \
  --allow-pub '$SRV.INFO.calc' \
  --allow-pub '$SRV.INFO.calc.*' \
  --allow-pub '$SRV.STATS' \
  --allow-pub '$SRV.STATS.calc' \
  --allow-pub '$SRV.STATS.calc.*' \
  --allow-pub 'nmfw.calc._health' \
  --allow-pub 'nmfw.calc._i.*.health' \
  --allow-pub 'nmfw.calc._schema' \
  --allow-pub 'nmfw.calc._i.*.schema' \
  --allow-sub '_INBOX.>'
