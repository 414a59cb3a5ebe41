// The library as an external module. Beside this file lie
//   include/           onestep.h, onestep.hpp
//   lib/Linux/         libonestep.so.1, and libonestep.so that links to it     lib/LinuxArm64/  the same
//   lib/Win64/         onestep.dll, onestep.dll.lib
//   lib/Mac/           libonestep.1.dylib
//   lib/Android/<abi>/ libonestep.a
// What is loaded at run time is staged where it lies.
using System.IO;
using UnrealBuildTool;

public class onestep : ModuleRules
{
	public onestep(ReadOnlyTargetRules Target) : base(Target)
	{
		Type = ModuleType.External;
		PublicSystemIncludePaths.Add(Path.Combine(ModuleDirectory, "include"));
		string Libraries = Path.Combine(ModuleDirectory, "lib", Target.Platform.ToString());

		if (Target.Platform == UnrealTargetPlatform.Win64)
		{
			// Delay-loaded: FOneStepModule loads it from this folder before the first call.
			PublicAdditionalLibraries.Add(Path.Combine(Libraries, "onestep.dll.lib"));
			PublicDelayLoadDLLs.Add("onestep.dll");
			RuntimeDependencies.Add(Path.Combine(Libraries, "onestep.dll"));
		}
		else if (Target.Platform == UnrealTargetPlatform.Mac)
		{
			PublicAdditionalLibraries.Add(Path.Combine(Libraries, "libonestep.1.dylib"));
			RuntimeDependencies.Add(Path.Combine(Libraries, "libonestep.1.dylib"));
		}
		else if (Target.Platform == UnrealTargetPlatform.Linux || Target.Platform == UnrealTargetPlatform.LinuxArm64)
		{
			// Linked by the one name, loaded by the other, the SONAME.
			PublicAdditionalLibraries.Add(Path.Combine(Libraries, "libonestep.so"));
			RuntimeDependencies.Add(Path.Combine(Libraries, "libonestep.so.1"));
		}
		else if (Target.Platform == UnrealTargetPlatform.Android)
		{
			// The build tool takes the one whose folder is named after the processor that it links for.
			PublicAdditionalLibraries.Add(Path.Combine(Libraries, "arm64-v8a", "libonestep.a"));
			PublicAdditionalLibraries.Add(Path.Combine(Libraries, "x86_64", "libonestep.a"));
		}
	}
}
