#!/bin/sh
# usage: sh FILE ACCOUNT EXPORTING_ACCOUNT
set -eu
account=${1:?the account}
exporter=${2:?the exporting account, by its name or public key}
# Imported from another account: calc.Calc, all methods.
nsc add import --account "$account" --name 'nmfw.calc.Average' --service --src-account "$exporter" --remote-subject 'nmfw.calc.Average' --local-subject 'nmfw.calc.Average'
nsc add import --account "$account" --name 'nmfw.calc.Add' --service --src-account "$exporter" --remote-subject 'nmfw.calc.Add' --local-subject 'nmfw.calc.Add'
nsc add import --account "$account" --name 'nmfw.calc.Expression' --service --src-account "$exporter" --remote-subject 'nmfw.calc.Expression' --local-subject 'nmfw.calc.Expression'
nsc add import --account "$account" --name 'nmfw.calc._open' --service --src-account "$exporter" --remote-subject 'nmfw.calc._open' --local-subject 'nmfw.calc._open'
nsc add import --account "$account" --name 'nmfw.calc._schema' --service --src-account "$exporter" --remote-subject 'nmfw.calc._schema' --local-subject 'nmfw.calc._schema'
