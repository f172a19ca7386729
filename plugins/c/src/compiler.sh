#!/bin/sh
# Stands before the compilers of the builder: adds what makes programs reproducible, and links statically what can be.
#
# It is called by the name of a compiler. KILN_PATH is the search path without the directory that it lies in, KILN_LIBC
# `musl` for that C library, KILN_LINK one of auto, static, dynamic, and unset while a project looks around; KILN_REPORT a
# directory for what could not be.
name=${0##*/}
PATH=$KILN_PATH
export PATH
alone=-static-pie
case $KILN_LIBC:$name in
musl:cc | musl:gcc) name=musl-gcc alone=-static ;;
musl:c++ | musl:g++) echo 'musl-gcc compiles C only' >&2 && exit 1 ;;
esac

links=yes
output=a.out
is_output=
for argument; do
    [ -z "$is_output" ] || output=$argument
    is_output=
    case $argument in
    -o) is_output=yes ;;
    -c | -E | -S | -M | -MM | -r | -shared | -static | -static-pie | -no-pie | -nopie | -fsyntax-only) links= ;;
    -v | -V | -\#\#\# | --version | --help* | -print* | --print* | -dump*) exec "$name" "$@" ;;
    esac
done
# Options of the project come later and win.
set -- -fPIE -ffile-prefix-map=/work/src=. -ffile-prefix-map=/work/build=. "$@"
[ -n "$links" ] || exec "$name" "$@"

case ${KILN_LINK-} in
static) exec "$name" "$@" $alone ;;
auto) ;;
*) exec "$name" "$@" ;;
esac

program=${output##*/}
said=$KILN_REPORT/said.$$
if "$name" "$@" -static-pie >"$said" 2>&1 && ! grep -q 'in statically linked applications' "$said"; then
    cat "$said" >&2
    rm -f "$said" "$KILN_REPORT/dynamic/$program"
    exit 0
fi
sed -n \
    -e "s/.*warning: Using '\([^']*\)' in statically linked applications.*/it calls \1, which loads libraries of the C library/p" \
    -e 's/.*cannot find -l\([^: ]*\).*/there is no static lib\1.a/p' \
    -e 's/.*attempted static link of dynamic object .\([^'"'"'`]*\).$/it is linked with \1/p' \
    "$said" | head -n 1 >"$KILN_REPORT/dynamic/$program"
[ -s "$KILN_REPORT/dynamic/$program" ] || echo 'it does not link statically' >"$KILN_REPORT/dynamic/$program"
rm -f "$said"
exec "$name" "$@"
