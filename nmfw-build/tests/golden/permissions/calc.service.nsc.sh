#!/bin/sh
# usage: sh FILE ACCOUNT USER
set -eu
account=${1:?the account}
user=${2:?the user}
# Serves calc.Calc: all methods.
nsc add user --account "$account" --name "$user" \
  --allow-pub '_INBOX.>' \
  --allow-pub '_R_.>' \
  --allow-pub 'nmfw.calc._i.*.fence.*' \
  --allow-sub 'nmfw.calc.Average q' \
  --allow-sub 'nmfw.calc.Add q' \
  --allow-sub 'nmfw.calc.Expression q' \
  --allow-sub 'nmfw.calc._open q' \
  --allow-sub 'nmfw.calc._i.*.s.*' \
  --allow-sub 'nmfw.calc._m.*.*.*' \
  --allow-sub 'nmfw.calc._i.*.m.*' \
  --allow-sub 'nmfw.calc._i.*.fence.*' \
  --allow-sub 'nmfw.calc._health q' \
  --allow-sub 'nmfw.calc._i.*.health' \
  --allow-sub 'nmfw.calc._schema q' \
  --allow-sub 'nmfw.calc._i.*.schema' \
  --allow-sub '$SRV.PING' \
  --allow-sub '$SRV.PING.calc' \
  --allow-sub '$SRV.PING.calc.*' \
  --allow-sub '$SRV.INFO' \
  --allow-sub '$SRV.INFO.calc' \
  --allow-sub '$SRV.INFO.calc.*' \
  --allow-sub '$SRV.STATS' \
  --allow-sub '$SRV.STATS.calc' \
  --allow-sub '$SRV.STATS.calc.*'
