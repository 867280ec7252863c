#!/bin/sh
# usage: sh FILE ACCOUNT
set -eu
account=${1:?the account}
# Shared with other accounts: calc.Calc, all methods.
nsc add export --account "$account" --name 'nmfw.calc.Average' --service --subject 'nmfw.calc.Average' --response-type Stream
nsc add export --account "$account" --name 'nmfw.calc.Add' --service --subject 'nmfw.calc.Add' --response-type Stream
nsc add export --account "$account" --name 'nmfw.calc.Expression' --service --subject 'nmfw.calc.Expression' --response-type Stream
nsc add export --account "$account" --name 'nmfw.calc._open' --service --subject 'nmfw.calc._open' --response-type Stream
nsc add export --account "$account" --name 'nmfw.calc._schema' --service --subject 'nmfw.calc._schema' --response-type Stream
