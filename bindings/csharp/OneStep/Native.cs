using System;
using System.Runtime.InteropServices;
using System.Security;

namespace OneStep
{
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int NativeProgress(IntPtr user, int phase, uint done, uint total);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void NativeLog(IntPtr user, int level, IntPtr utf8, UIntPtr length);

    /// <summary>The functions of onestep.h. Handles go in as SafeHandles, which keeps them alive during the call; the
    /// errno is in the error, so none asks for SetLastError.</summary>
    [SuppressUnmanagedCodeSecurity]
    internal static unsafe class Native
    {
        // iOS links plugins into the program.
#if UNITY_IOS && !UNITY_EDITOR
        private const string Name = "__Internal";
#else
        private const string Name = "onestep";
#endif
        private const CallingConvention C = CallingConvention.Cdecl;

        [DllImport(Name, CallingConvention = C)] public static extern uint onestep_abi_version();
        [DllImport(Name, CallingConvention = C)] public static extern byte* onestep_version();
        [DllImport(Name, CallingConvention = C)] public static extern byte* onestep_build_info();
        [DllImport(Name, CallingConvention = C)] public static extern void onestep_set_log(IntPtr log, IntPtr user, int minLevel);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_device_count(uint* count, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_device_get(uint index, NativeDeviceInfo* info, NativeError* error);

        [DllImport(Name, CallingConvention = C)] public static extern IntPtr onestep_cancel_new();
        [DllImport(Name, CallingConvention = C)] public static extern void onestep_cancel_trigger(CancelHandle cancel);
        [DllImport(Name, CallingConvention = C)] public static extern void onestep_cancel_free(IntPtr cancel);

        [DllImport(Name, CallingConvention = C)] public static extern IntPtr onestep_options_new();
        [DllImport(Name, CallingConvention = C)] public static extern void onestep_options_free(IntPtr options);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_options_set_device(OptionsHandle options, byte* id, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_options_set_threads(OptionsHandle options, uint threads, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_options_set_precision(OptionsHandle options, int precision, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_options_set_role(OptionsHandle options, int role, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_options_set_progress(OptionsHandle options, IntPtr progress, IntPtr user, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_options_set_cancel(OptionsHandle options, CancelHandle cancel, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_options_set(OptionsHandle options, byte* key, byte* value, NativeError* error);

        [DllImport(Name, CallingConvention = C)] public static extern int onestep_model_open_file(byte* path, OptionsHandle options, IntPtr* model, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_model_open_borrowed(void* data, UIntPtr size, IntPtr release, IntPtr user, OptionsHandle options, IntPtr* model, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_model_open_default(OptionsHandle options, IntPtr* model, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_model_get_info(ModelHandle model, NativeModelInfo* info, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_model_info_json(ModelHandle model, byte* text, UIntPtr size, UIntPtr* needed, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_model_estimate_memory(ModelHandle model, uint batch, NativeMemory* memory, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_output_size(ModelHandle model, uint batch, NativeLayout* layout, ulong* bytes, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern void onestep_model_free(IntPtr model);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_noise_fill(ModelHandle model, ulong* seeds, UIntPtr n, float* noise, UIntPtr floats, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_noise_interpolate(int mode, float* a, float* b, UIntPtr length, float* t, UIntPtr n, float* output, UIntPtr floats, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_session_predict_at(SessionHandle session, float* x, float* times, int* labels, UIntPtr n, float* output, UIntPtr floats, NativeError* error);

        [DllImport(Name, CallingConvention = C)] public static extern IntPtr onestep_request_new();
        [DllImport(Name, CallingConvention = C)] public static extern void onestep_request_free(IntPtr request);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_request_set_seeds(RequestHandle request, ulong* seeds, UIntPtr n, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_request_set_noise(RequestHandle request, float* nchw, UIntPtr floats, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_request_set_labels(RequestHandle request, int* labels, UIntPtr n, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_request_set_sampler(RequestHandle request, int kind, int spacing, uint steps, float eta, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_request_set_guidance(RequestHandle request, float scale, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_request_set_schedule(RequestHandle request, int* timesteps, UIntPtr n, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_request_set_progress(RequestHandle request, IntPtr progress, IntPtr user, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_request_set_cancel(RequestHandle request, CancelHandle cancel, NativeError* error);

        [DllImport(Name, CallingConvention = C)] public static extern int onestep_session_new(ModelHandle model, OptionsHandle options, IntPtr* session, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern void onestep_session_free(IntPtr session);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_session_prepare(SessionHandle session, uint batch, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_session_sample(SessionHandle session, RequestHandle request, NativeLayout* layout, void* pixels, UIntPtr size, NativeError* error);
        [DllImport(Name, CallingConvention = C)] public static extern int onestep_session_predict(SessionHandle session, float* x, int* timesteps, int* labels, UIntPtr n, float* output, UIntPtr floats, NativeError* error);
    }
}
