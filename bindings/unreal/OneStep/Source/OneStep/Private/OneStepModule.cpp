#include "HAL/PlatformProcess.h"
#include "Interfaces/IPluginManager.h"
#include "Misc/Paths.h"
#include "Modules/ModuleManager.h"

// On Windows the library is delay-loaded: it is taken from the plugin's folder, and from nowhere else on the search path.
class FOneStepModule : public IModuleInterface
{
public:
	virtual void StartupModule() override
	{
#if PLATFORM_WINDOWS
		const FString Folder = IPluginManager::Get().FindPlugin(TEXT("OneStep"))->GetBaseDir();
		Library = FPlatformProcess::GetDllHandle(*FPaths::Combine(Folder, TEXT("Source/ThirdParty/onestep/lib/Win64/onestep.dll")));
#endif
	}

	virtual void ShutdownModule() override
	{
		// The library's threads are its sessions', and those are gone with the components.
		if (Library != nullptr) FPlatformProcess::FreeDllHandle(Library);
		Library = nullptr;
	}

private:
	void* Library = nullptr;
};

IMPLEMENT_MODULE(FOneStepModule, OneStep)
