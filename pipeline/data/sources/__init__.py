"""The forms in which people have labelled images, each in a module; `find` says which one it is."""
