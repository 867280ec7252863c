#!/bin/sh
# usage: sh FILE ACCOUNT USER
set -eu
account=${1:?the account}
user=${2:?the user}
# Calls calc.Calc: all methods.
nsc add user --account "$account" --name "$user" \
  --allow-pub 'nmfw.calc.Average' \
  --allow-pub 'nmfw.calc.Add' \
  --allow-pub 'nmfw.calc.Expression' \
  --allow-pub 'nmfw.calc._open' \
  --allow-pub 'nmfw.calc._schema' \
  --allow-pub '_R_.>' \
  --allow-pub 'nmfw.calc._i.*.m.Average' \
  --allow-pub 'nmfw.calc._i.*.m.Add' \
  --allow-pub 'nmfw.calc._i.*.m.Expression' \
  --allow-pub 'nmfw.calc._i.*.m._open' \
  --allow-pub 'nmfw.calc._i.*.schema' \
  --allow-sub '_INBOX.>'
