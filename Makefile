# Installs the library for C, C++ and everything that calls them, and the command `onestep`, its manual and its
# completions: `make install PREFIX=/usr/local`, which needs Rust and nothing else. `make install-lib` leaves the command out,
# and alone takes a TARGET. DESTDIR is honoured. `cargo cinstall` (cargo-c) lays out the same library.
# `make check` is what to run before a commit.
PREFIX ?= /usr/local
CARGO ?= cargo
FEATURES ?= capi,cuda,embedded-model
# Another target than this machine, as `rustc --print target-list` names it.
TARGET ?=

version := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The interface's version, apart from the crate's: major.minor.patch, of which the first is ONESTEP_ABI_VERSION.
abi := $(shell sed -n '/^\[package.metadata.capi.library\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
major := $(firstword $(subst ., ,$(abi)))

target := $(or $(CARGO_TARGET_DIR),target)
built := $(target)/$(TARGET)/release
command := $(target)/release/onestep
root := $(DESTDIR)$(PREFIX)
bash := $(root)/share/bash-completion/completions
zsh := $(root)/share/zsh/site-functions
fish := $(root)/share/fish/vendor_completions.d

# What `rustc --print native-static-libs` says that the static library needs.
ifneq ($(findstring darwin,$(or $(TARGET),$(shell $(CARGO) -vV | sed -n 's/^host: //p'))),)
linked := libonestep.dylib
named := libonestep.$(major).dylib
whole := libonestep.$(abi).dylib
link := -C link-arg=-Wl,-install_name,@rpath/$(named)
private := -liconv -lSystem -lc -lm
else
linked := libonestep.so
named := libonestep.so.$(major)
whole := libonestep.so.$(abi)
link := -C link-arg=-Wl,-soname,$(named)
private := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
endif

.PHONY: all library command install install-lib install-bin uninstall check

all: library command

library:
	$(CARGO) rustc --release --package onestep --lib --no-default-features --features $(FEATURES) \
		--crate-type cdylib,staticlib $(if $(TARGET),--target $(TARGET)$(GLIBC)) -- $(link)

command:
	$(CARGO) build --release --package onestep-cli

install: install-lib install-bin

install-lib: library
	install -d $(root)/include $(root)/lib/pkgconfig $(root)/share/cmake/onestep
	install -m 644 include/onestep.h include/onestep.hpp $(root)/include
	install -m 755 $(built)/$(linked) $(root)/lib/$(whole)
	ln -sf $(whole) $(root)/lib/$(named)
	ln -sf $(named) $(root)/lib/$(linked)
	install -m 644 $(built)/libonestep.a $(root)/lib
	sed -e 's/@VERSION@/$(version)/' -e 's/@PRIVATE@/$(private)/' onestep.pc.in > $(built)/onestep.pc
	install -m 644 $(built)/onestep.pc $(root)/lib/pkgconfig
	install -m 644 cmake/onestepConfig.cmake cmake/onestepConfigVersion.cmake $(root)/share/cmake/onestep

install-bin: command
	install -d $(root)/bin $(root)/share/man/man1 $(bash) $(zsh) $(fish)
	install -m 755 $(command) $(root)/bin
	$(command) man --out $(root)/share/man/man1
	$(command) completions bash > $(bash)/onestep
	$(command) completions zsh > $(zsh)/_onestep
	$(command) completions fish > $(fish)/onestep.fish

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --quiet --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --no-deps --lib
	$(CARGO) test --quiet -- --skip c_interface:: --skip cuda:: --skip metal::

uninstall:
	rm -f $(root)/include/onestep.h $(root)/include/onestep.hpp $(root)/lib/libonestep.a
	rm -f $(root)/lib/$(whole) $(root)/lib/$(named) $(root)/lib/$(linked) $(root)/lib/pkgconfig/onestep.pc
	rm -rf $(root)/share/cmake/onestep
	rm -f $(root)/bin/onestep $(root)/share/man/man1/onestep.1 $(root)/share/man/man1/onestep-*.1
	rm -f $(bash)/onestep $(zsh)/_onestep $(fish)/onestep.fish
