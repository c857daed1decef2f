# Copy a model and its files, the least that any tool has to do with them. Arguments: from, to, and "sync" to have them on
# the disk in the end.
set -e
cp -r "$1/." "$2"
if [ "$3" = sync ]; then
    find "$2" -exec sync {} +
fi
