#!/bin/sh
echo "Hello from a shell on $(uname -m)!"
